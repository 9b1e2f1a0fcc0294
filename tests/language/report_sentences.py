"""Sentences as reports have them (our own wording), by kind, and what each says in canonical sentences of any order."""

from __future__ import annotations

# A list under one cue runs to its conjunction; without one, a graded item begins something new.
LISTS = {
    "No focal consolidation, large effusion or pneumothorax.": (
        "No consolidation. No pleural effusion. No pneumothorax."
    ),
    "Without evidence of focal consolidation large effusion or pneumothorax.": (
        "No consolidation. No pleural effusion. No pneumothorax."
    ),
    "There is no pneumothorax, large pleural effusion or focal consolidation. Heart size is normal.": (
        "No pneumothorax. No pleural effusion. No consolidation. No cardiomegaly."
    ),
    "No pneumothorax, mild edema or effusion": "No pneumothorax. No pulmonary edema. No pleural effusion.",
    "No evidence of pneumothorax, large pleural effusion and consolidation": (
        "No pneumothorax. No pleural effusion. No consolidation."
    ),
    "No mass, small nodule, or hilar adenopathy.": "No mass. No nodule.",
    "There is no consolidation, sizeable effusion, or displaced rib fracture.": (
        "No consolidation. No pleural effusion. No fracture."
    ),
    "Without pneumothorax, gross oedema, or large effusions": (
        "No pneumothorax. No pulmonary edema. No pleural effusion."
    ),
    "No acute fracture, large pneumothorax, moderate effusion, or focal consolidation.": (
        "No fracture. No pneumothorax. No pleural effusion. No consolidation."
    ),
    "No evidence of pulmonary oedema, tiny pneumothorax or pleural fluid is seen.": (
        "No pulmonary edema. No pneumothorax. No pleural effusion."
    ),
    "No large effusion, small pneumothorax or mild edema": "No pleural effusion. No pneumothorax. No pulmonary edema.",
    "Negative for pneumothorax, substantial effusion, and lobar collapse.": (
        "No pneumothorax. No pleural effusion. No atelectasis."
    ),
    "Free of pneumothorax, large effusion or consolidation": "No pneumothorax. No pleural effusion. No consolidation.",
    "Lungs are clear, without consolidation, moderate effusion or pneumothorax.": (
        "No lung opacity. No consolidation. No pleural effusion. No pneumothorax."
    ),
    "No pneumothorax, left pleural effusion, or right basal atelectasis": (
        "No pneumothorax. No left pleural effusion. No right lower zone atelectasis."
    ),
    "No nodules, masses, mild fibrotic change or severe emphysema.": "No nodule. No mass. No fibrosis. No emphysema.",
    "No pleural effusion, extensive subcutaneous emphysema, pneumomediastinum or pneumothorax": (
        "No pleural effusion. No subcutaneous emphysema. No pneumomediastinum. No pneumothorax."
    ),
    "Neither pneumothorax, large effusion nor consolidation is seen.": (
        "No pneumothorax. No pleural effusion. No consolidation."
    ),
    "No effusion, enlarged heart or consolidation": "No pleural effusion. No cardiomegaly. No consolidation.",
    "no consolidation or large effusion": "No consolidation. No pleural effusion.",
    "No pneumothorax or effusion or mild oedema": "No pneumothorax. No pleural effusion. No pulmonary edema.",
    "No consolidation, effusion, or a large pneumothorax": "No consolidation. No pleural effusion. No pneumothorax.",
    "No focal airspace opacity, effusion, pneumothorax or acute fracture": (
        "No lung opacity. No pleural effusion. No pneumothorax. No fracture."
    ),
    "Possible pneumonia, mild oedema or small effusion.": (
        "Possible pneumonia. Possible mild pulmonary edema. Possible small pleural effusion."
    ),
    "Possible consolidation, small left effusion, and atelectasis": (
        "Possible consolidation. Possible small left pleural effusion. Possible atelectasis."
    ),
    "Suspected pneumonia, mild edema, or atelectasis": (
        "Possible pneumonia. Possible mild pulmonary edema. Possible atelectasis."
    ),
    "Cannot exclude pneumonia, small pneumothorax or tiny effusion": (
        "Possible pneumonia. Possible small pneumothorax. Possible small pleural effusion."
    ),
    "No pneumothorax, effusion, and large consolidation.": "No pneumothorax. No pleural effusion. No consolidation.",
    "Cardiomegaly without oedema, large effusion or pneumothorax.": (
        "Cardiomegaly. No pulmonary edema. No pleural effusion. No pneumothorax."
    ),
    "No pneumothorax, effusion or mass; mild cardiomegaly": (
        "No pneumothorax. No pleural effusion. No mass. Mild cardiomegaly."
    ),
    "No pneumothorax, large effusion, or consolidation, but mild cardiomegaly": (
        "No pneumothorax. No pleural effusion. No consolidation. Mild cardiomegaly."
    ),
    "No pneumothorax, large effusion or consolidation, mild cardiomegaly": (
        "No pneumothorax. No pleural effusion. No consolidation. Mild cardiomegaly."
    ),
    "No pneumothorax, large effusion or consolidation and stable cardiomegaly": (
        "No pneumothorax. No pleural effusion. No consolidation. Cardiomegaly."
    ),
    "No pneumothorax, small left effusion": "No pneumothorax. Small left pleural effusion.",
    "no edema large effusion": "No pulmonary edema. Large pleural effusion.",
    "No pneumothorax, mild cardiomegaly, small effusion": (
        "No pneumothorax. Mild cardiomegaly. Small pleural effusion."
    ),
    "No effusion, no pneumothorax, and small basal atelectasis": (
        "No pleural effusion. No pneumothorax. Small lower zone atelectasis."
    ),
    "No effusion or pneumothorax, and mild cardiomegaly": "No pleural effusion. No pneumothorax. Mild cardiomegaly.",
    "No effusion or pneumothorax, moderate hiatus hernia": "No pleural effusion. No pneumothorax. Moderate hernia.",
    "No pneumothorax and a small right effusion": "No pneumothorax. Small right pleural effusion.",
    "Possible pneumonia, small effusion": "Possible pneumonia. Small pleural effusion.",
    "No pneumothorax, consolidation and a large left effusion": (
        "No pneumothorax. No consolidation. Large left pleural effusion."
    ),
    "No oedema, PICC line and pacemaker in place": "No pulmonary edema. PICC line. Pacemaker.",
    "Mild cardiomegaly, no effusion, pneumothorax or consolidation": (
        "Mild cardiomegaly. No pleural effusion. No pneumothorax. No consolidation."
    ),
    "No pneumothorax, the heart is enlarged and the lungs are clear": (
        "No pneumothorax. Cardiomegaly. No lung opacity."
    ),
    "No effusion, heart mildly enlarged": "No pleural effusion. Mild cardiomegaly.",
    "No consolidation, effusion, or pneumothorax with mild cardiomegaly": (
        "No consolidation. No pleural effusion. No pneumothorax. Mild cardiomegaly."
    ),
    "Left basal opacity, atelectasis versus pneumonia": (
        "Left lower zone lung opacity. Possible atelectasis. Possible pneumonia."
    ),
    (
        "Clear lungs, no evidence of focal consolidation. There is no pneumothorax or large effusion. Heart and "
        "mediastinum are within normal limits."
    ): (
        "No lung opacity. No consolidation. No pneumothorax. No pleural effusion. No cardiomegaly. No enlarged "
        "cardiomediastinum."
    ),
    "Cannot exclude small left pleural effusion.": "Possible small left pleural effusion.",
    "Bibasilar opacities, likely atelectasis, although pneumonia cannot be excluded.": (
        "Bilateral lower zone lung opacity. Possible atelectasis. Possible pneumonia."
    ),
    "No pneumothorax, possible small effusion": "No pneumothorax. Possible small pleural effusion.",
    "No pneumothorax but possible pneumonia or mild oedema": (
        "No pneumothorax. Possible pneumonia. Possible mild pulmonary edema."
    ),
}

# "Non-" belongs to its adjective.
NON = {
    "Non-specific interstitial opacities": "Lung opacity.",
    "Nondisplaced left rib fracture": "Left fracture.",
    "non-displaced rib fracture": "Fracture.",
    "Non-calcified nodule in the right upper lobe": "Right upper zone nodule.",
    "noncalcified pulmonary nodule": "Nodule.",
    "Non-tension pneumothorax on the right": "Right pneumothorax.",
    "Small non-loculated pleural effusion": "Small pleural effusion.",
    "Non-cardiogenic pulmonary oedema": "Pulmonary edema.",
    "noncardiogenic pulmonary edema": "Pulmonary edema.",
    "Non-obstructive atelectasis at the left base": "Left lower zone atelectasis.",
    "Non-dependent effusion": "Pleural effusion.",
    "non-segmental consolidation in the right lower lobe": "Right lower zone consolidation.",
    "Non-cavitating left upper lobe mass": "Left upper zone mass.",
    "Non-acute rib fractures": "Fracture.",
    "Non-united clavicle fracture": "Fracture.",
    "No non-calcified nodule": "No nodule.",
    "no non-displaced fracture or pneumothorax": "No fracture. No pneumothorax.",
    "Non-infectious infiltrates": "Infiltration.",
    "Non-COVID pneumonia": "Pneumonia.",
    "Non-tuberculous infection": "Pneumonia.",
    "non-healing rib fracture": "Fracture.",
    "Non-enlarged heart": "No cardiomegaly.",
    "Non-visualised pneumothorax": "No pneumothorax.",
    "The pneumothorax is non-visualised.": "No pneumothorax.",
    "A pneumothorax is not visualised.": "No pneumothorax.",
    "Non-consolidated lungs": "No consolidation.",
    "Non-massive pleural effusion": "Pleural effusion.",
    "Non specific opacity, small effusion": "Lung opacity. Small pleural effusion.",
    "Non-ST-elevation infarct, mild cardiomegaly": "Mild cardiomegaly.",
    "Pleural effusion, non-haemorrhagic": "Pleural effusion.",
    "Effusion non-visualised on the left": "No left pleural effusion.",
    "Non-visualisation of the effusion": "No pleural effusion.",
}

# A denial of a side or a size denies that alone.
SIDES = {
    "right pleural effusion, none on the left": "Right pleural effusion.",
    "effusion on the right but not on the left": "Right pleural effusion.",
    "left pneumothorax, not on the right": "Left pneumothorax.",
    "moderate left effusion, none on right": "Moderate left pleural effusion.",
    "right effusion, left clear": "Right pleural effusion.",
    "Cardiomegaly, not severe": "Cardiomegaly.",
    "effusion, not large": "Pleural effusion.",
    "Left lower lobe consolidation, not in the right": "Left lower zone consolidation.",
    "Effusion on the left, no effusion on the right": "Left pleural effusion.",
    "Large right effusion, nothing on the left": "Large right pleural effusion.",
    "Right pneumothorax, none seen on the left": "Right pneumothorax.",
    "Right pneumothorax; none on the left": "Right pneumothorax.",
    "Right-sided but not left-sided pneumothorax": "Right pneumothorax.",
    "Small left effusion and no right effusion": "Small left pleural effusion.",
    "Right effusion, no left": "Right pleural effusion.",
    "Small right effusion without one on the left": "Small right pleural effusion.",
    "Left effusion, right negative": "Left pleural effusion.",
    "Left apical pneumothorax, right side normal": "Left upper zone pneumothorax.",
    "Opacity at the right base, left base clear": "Right lower zone lung opacity.",
    "Pulmonary oedema, not severe": "Pulmonary edema.",
    "Edema, but not severe": "Pulmonary edema.",
    "Nodules in the upper zones, none in the lower zones": "Upper zone nodule.",
    "Right upper lobe mass, none elsewhere": "Right upper zone mass.",
    "Bilateral effusions, neither large": "Bilateral pleural effusion.",
    "Bilateral effusions, none large": "Bilateral pleural effusion.",
    "The effusion is not large.": "Pleural effusion.",
    "The pneumothorax is not large but is persistent": "Pneumothorax.",
    "Effusion is present on the right, absent on the left": "Right pleural effusion.",
    "Effusion present on the right and absent on the left": "Right pleural effusion.",
    "No effusion on the right, small on the left": "Small left pleural effusion.",
    "No right effusion but small left": "Small left pleural effusion.",
    "No effusion on the left, but moderate on the right": "Moderate right pleural effusion.",
    "Pneumothorax not seen on the left": "No left pneumothorax.",
    "No pneumothorax on the right, none on the left": "No bilateral pneumothorax.",
    "Small right pneumothorax, not seen on the left": "Small right pneumothorax.",
    "Right effusion, possible small left effusion": "Right pleural effusion. Possible left pleural effusion.",
    "Atelectasis at the left base, not the right": "Left lower zone atelectasis.",
    "Effusion (right, not left)": "Right pleural effusion.",
    "Moderate, not large, effusion": "Moderate pleural effusion.",
    "Not a large effusion": "No pleural effusion.",
    "Left effusion with none on the right": "Left pleural effusion.",
    "Left effusion, not right. No pneumothorax.": "Left pleural effusion. No pneumothorax.",
    "Infiltrates on the left, right lung clear": "Left infiltration. No right lung opacity.",
    "Consolidation in the right middle lobe, none in the left lung": "Right middle zone consolidation.",
    "Right lung opacity; left lung is clear": "Right lung opacity.",
    "bases are clear": "No lower zone lung opacity.",
    "No pneumothorax, apices clear": "No pneumothorax. No upper zone lung opacity.",
    "Left is clear": "No left lung opacity.",
    "Emphysema, not severe, and a small nodule": "Emphysema. Small nodule.",
    "small right effusion; none on left": "Small right pleural effusion.",
    "Right effusion. None on the left.": "Right pleural effusion.",
    "Right pneumothorax, none on the contralateral side": "Right pneumothorax.",
    "Small effusion on the right without left effusion": "Small right pleural effusion.",
    "consolidation, left not right": "Left consolidation.",
    "Right effusion but the left is clear": "Right pleural effusion.",
    "effusion not on the left but on the right": "Right pleural effusion.",
    "right effusion only, left none": "Right pleural effusion.",
    "left or right pneumothorax": "Pneumothorax.",
    "Effusion on the left or right": "Pleural effusion.",
    "Either left or right pneumothorax": "Possible pneumothorax.",
    "No left or right effusion": "No bilateral pleural effusion.",
    "Left pneumothorax or right effusion": "Possible left pneumothorax. Possible right pleural effusion.",
    "Pneumothorax is excluded, effusion is not": "No pneumothorax. Possible pleural effusion.",
    "To exclude pneumothorax": "Possible pneumothorax.",
    "With or without effusion": "Possible pleural effusion.",
    "Atelectasis w/wo effusion": "Atelectasis. Possible pleural effusion.",
    "Effusion +/- consolidation": "Pleural effusion. Possible consolidation.",
    "± mild oedema": "Possible mild pulmonary edema.",
    "Doubtful effusion": "Possible pleural effusion.",
    "No left pneumothorax, small right one": "Small right pneumothorax.",
    "Left pneumothorax has resolved, small on the right": "Small right pneumothorax.",
    "Heart is enlarged, not severely": "Cardiomegaly.",
    "small pneumothorax on the left, none on the right, no effusion": "Small left pneumothorax. No pleural effusion.",
}

# What the sentence asserts is there, also after "no".
ASSERTED = {
    "No pneumothorax, effusion is present": "No pneumothorax. Pleural effusion.",
    "No pneumothorax and effusion is present": "No pneumothorax. Pleural effusion.",
    "No pneumothorax, a left effusion is seen": "No pneumothorax. Left pleural effusion.",
    "No effusion and cardiomegaly persists": "No pleural effusion. Cardiomegaly.",
    "No pneumothorax, cardiomegaly stable": "No pneumothorax. Cardiomegaly.",
    "No effusion, cardiomegaly unchanged": "No pleural effusion. Cardiomegaly.",
    "No effusion, unchanged cardiomegaly": "No pleural effusion. Cardiomegaly.",
    "No pneumothorax and stable cardiomegaly": "No pneumothorax. Cardiomegaly.",
    "No pneumothorax, positive for effusion": "No pneumothorax. Pleural effusion.",
    "No pneumothorax, atelectasis at the left base": "No pneumothorax. Left lower zone atelectasis.",
    "No pneumothorax and atelectasis at the left base": "No pneumothorax. Left lower zone atelectasis.",
    "No effusion, left basal atelectasis": "No pleural effusion. Left lower zone atelectasis.",
    "No consolidation or effusion at the left base": "No consolidation. No left lower zone pleural effusion.",
    "No consolidation or effusion is seen": "No consolidation. No pleural effusion.",
    "No consolidation, effusion or pneumothorax is present": "No consolidation. No pleural effusion. No pneumothorax.",
    "No consolidation, effusion, and pneumothorax are identified": (
        "No consolidation. No pleural effusion. No pneumothorax."
    ),
    "No pneumothorax is seen": "No pneumothorax.",
    "No pneumothorax is seen, cardiomegaly is unchanged": "No pneumothorax. Cardiomegaly.",
    "No pneumothorax, emphysema again seen": "No pneumothorax. Emphysema.",
    "No new consolidation, fibrosis remains": "No consolidation. Fibrosis.",
    "No pneumothorax, and the left effusion persists": "No pneumothorax. Left pleural effusion.",
    "No oedema, scoliosis noted": "No pulmonary edema. Scoliosis.",
    "No oedema and scoliosis is noted": "No pulmonary edema. Scoliosis.",
    "No pneumothorax, persistent right effusion": "No pneumothorax. Right pleural effusion.",
    "No pneumothorax, there is consolidation": "No pneumothorax. Consolidation.",
    "No effusion, but hernia present": "No pleural effusion. Hernia.",
    "No pneumothorax, effusions have increased": "No pneumothorax. Pleural effusion.",
    "No pneumothorax, pleural thickening is again noted": "No pneumothorax. Pleural thickening.",
    "No focal consolidation and chronic scarring": "No consolidation. Fibrosis.",
    "Without pneumothorax, cardiomegaly is mild": "No pneumothorax. Mild cardiomegaly.",
    "No pneumothorax and interval increase in left effusion": "No pneumothorax. Left pleural effusion.",
    "No pneumothorax; effusion unchanged.": "No pneumothorax. Pleural effusion.",
    "No pneumothorax, effusion, or oedema; cardiomegaly is stable.": (
        "No pneumothorax. No pleural effusion. No pulmonary edema. Cardiomegaly."
    ),
    "No acute fracture, old healed rib fractures": "Fracture.",
    "No pneumothorax, known emphysema": "No pneumothorax. Emphysema.",
    "No consolidation, residual atelectasis": "No consolidation. Atelectasis.",
    "No mass and granuloma in the right upper lobe is unchanged": "No mass. Right upper zone nodule.",
    "No pneumothorax, worsening oedema": "No pneumothorax. Pulmonary edema.",
    "No effusion, ETT in place": "No pleural effusion. Endotracheal tube.",
    "No pneumothorax is seen and a pacemaker is present": "No pneumothorax. Pacemaker.",
    "No pneumothorax, cardiomegaly is present, and effusion is absent": (
        "No pneumothorax. Cardiomegaly. No pleural effusion."
    ),
    "No pneumothorax is present, nor is there effusion.": "No pneumothorax. No pleural effusion.",
    "No pneumothorax persists": "No pneumothorax.",
    "No effusion remains; pneumothorax has resolved": "No pleural effusion. No pneumothorax.",
    "The pneumothorax has resolved and the effusion persists": "No pneumothorax. Pleural effusion.",
    "The pneumothorax has resolved, effusion is stable": "No pneumothorax. Pleural effusion.",
    "Possible pneumonia, cardiomegaly is stable": "Possible pneumonia. Cardiomegaly.",
    "Possible pneumonia and cardiomegaly is stable": "Possible pneumonia. Cardiomegaly.",
    "No pneumothorax, and consolidation at right base": "No pneumothorax. Right lower zone consolidation.",
    "No effusions are seen and opacities are present at the bases": "No pleural effusion. Lower zone lung opacity.",
    "No acute, displaced rib fractures are demonstrated.": "No fracture.",
    "No consolidation, effusion is not seen": "No consolidation. No pleural effusion.",
    "No pneumothorax, small left effusion, stable.": "No pneumothorax. Small left pleural effusion.",
    "Mild cardiomegaly without acute cardiac abnormality.": "Mild cardiomegaly.",
}

# A comparison presupposes what it compares; a course before a denied finding does not.
COMPARED = {
    "No increase in effusion": "Pleural effusion.",
    "No interval change in effusion size": "Pleural effusion.",
    "No significant interval increase in the size of the small left effusion": "Small left pleural effusion.",
    "No change in effusion or pneumothorax": "Pleural effusion. Pneumothorax.",
    "No increase in effusion, pneumothorax or edema": "Pleural effusion. Pneumothorax. Pulmonary edema.",
    "No increase or decrease in the effusion": "Pleural effusion.",
    "No pneumothorax or increase in effusion": "No pneumothorax. Pleural effusion.",
    "No increase in effusion, no pneumothorax": "Pleural effusion. No pneumothorax.",
    "No evidence of increase in pleural fluid": "Pleural effusion.",
    "No change ETT": "Endotracheal tube.",
    "No enlargement of the effusion": "Pleural effusion.",
    "The effusion has not increased in size": "Pleural effusion.",
    "The effusion is no larger": "Pleural effusion.",
    "Cardiomegaly not appreciably changed": "Cardiomegaly.",
    "The heart is not increased in size": "No cardiomegaly.",
    "Mild enlargement of the cardiac silhouette": "Mild cardiomegaly.",
    "No enlargement of the heart": "No cardiomegaly.",
    "The effusion has not cleared": "Pleural effusion.",
    "The effusion has partially resolved": "Pleural effusion.",
    "The pneumothorax has resolved completely": "No pneumothorax.",
    "Partial resolution of the effusion": "Pleural effusion.",
    "Near complete resolution of the left effusion": "Left pleural effusion.",
    "Complete resolution of the effusion": "No pleural effusion.",
    "No resolution of the pneumothorax": "Pneumothorax.",
    "Slightly increased left effusion": "Left pleural effusion.",
    "Marked increase in small left effusion": "Small left pleural effusion.",
    "Small improved effusion": "Small pleural effusion.",
    "No worsening edema": "No pulmonary edema.",
    "No new or worsening consolidation": "No consolidation.",
    "No effusion, increased edema or pneumonia": "No pleural effusion. No pulmonary edema. No pneumonia.",
    "No effusion, pneumothorax, or worsening edema": "No pleural effusion. No pneumothorax. No pulmonary edema.",
    "No effusion, new edema": "No pleural effusion. Pulmonary edema.",
    "No effusion and worsening edema": "No pleural effusion. Pulmonary edema.",
    "Effusion resolved on the left, increased on the right": "Right pleural effusion.",
    "No effusion on the right, unchanged on the left": "Left pleural effusion.",
    "Possible increase in effusion": "Possible pleural effusion.",
}

# Label notation and report headings.
LABELS = {
    "effusion: 0": "No pleural effusion.",
    "pneumothorax: 1": "Pneumothorax.",
    "mass = -1": "Possible mass.",
    "effusion=0, edema=1, pneumonia=-1": "No pleural effusion. Pulmonary edema. Possible pneumonia.",
    "Pleural_Effusion: 1.0; Cardiomegaly: 0.0": "Pleural effusion. No cardiomegaly.",
    "Effusion: 1 and pneumothorax: 0": "Pleural effusion. No pneumothorax.",
    "Atelectasis: 1, Cardiomegaly: 0, Edema: 0, Nodule: 1": (
        "Atelectasis. No cardiomegaly. No pulmonary edema. Nodule."
    ),
    "No Finding: 1": "No acute cardiopulmonary abnormality.",
    "No Finding: 0": "Abnormal chest.",
    "Effusion: yes. Pneumothorax: no.": "Pleural effusion. No pneumothorax.",
    "Effusion: yes, pneumothorax: no, oedema: possible": (
        "Pleural effusion. No pneumothorax. Possible pulmonary edema."
    ),
    "Effusion: present, mild. Pneumothorax: absent.": "Small pleural effusion. No pneumothorax.",
    "Effusion: positive, mass: negative": "Pleural effusion. No mass.",
    "Effusion: true, mass: false": "Pleural effusion. No mass.",
    "Effusion: uncertain. Pneumothorax: negative": "Possible pleural effusion. No pneumothorax.",
    "nodules: 0": "No nodule.",
    "nodules: 3": "Nodule.",
    "Effusion: none on the left, small on the right": "Small right pleural effusion.",
    "Pneumothorax 0, effusion 1": "No pneumothorax. Pleural effusion.",
    "63 yo F, effusion: 0, cardiomegaly: 1": "63 year old female. No pleural effusion. Cardiomegaly.",
    "Positive: cardiomegaly. Negative: effusion, pneumothorax.": "Cardiomegaly. No pleural effusion. No pneumothorax.",
    "Absent: pneumothorax, effusion": "No pneumothorax. No pleural effusion.",
    "Pneumothorax: none. Effusion: small, left.": "No pneumothorax. Small left pleural effusion.",
    "Lungs: clear. Heart: enlarged. Pleura: small left effusion.": (
        "No lung opacity. Cardiomegaly. Small left pleural effusion."
    ),
    "LUNGS: No consolidation, mass or large nodule. PLEURA: No effusion.": (
        "No consolidation. No mass. No nodule. No pleural effusion."
    ),
    "Cardiomegaly: 1\nEdema: 0\nPneumothorax: -1": "Cardiomegaly. No pulmonary edema. Possible pneumothorax.",
    "No Finding: 0\nCardiomegaly: 1\nPleural Effusion: 0": "Abnormal chest. Cardiomegaly. No pleural effusion.",
    "Pneumonia (0), Edema (1)": "No pneumonia. Pulmonary edema.",
    "nodule count: 0": "No nodule.",
    "Effusion - 0, mass - 1": "No pleural effusion. Mass.",
    "Edema -, effusion +": "No pulmonary edema. Pleural effusion.",
    "(+) effusion, (-) pneumothorax": "Pleural effusion. No pneumothorax.",
    "Effusion (-), mass (+)": "No pleural effusion. Mass.",
    "Effusion -ve, mass +ve": "No pleural effusion. Mass.",
    "-ve for pneumothorax": "No pneumothorax.",
    "PTX neg, effusion pos": "No pneumothorax. Pleural effusion.",
    "- effusion\n- no mass": "Pleural effusion. No mass.",
    "Effusion: 0.0, Edema: nan, Mass: 1": "No pleural effusion. Mass.",
}

SENTENCES = LISTS | NON | SIDES | ASSERTED | COMPARED | LABELS
