"""The lexicon: what words, abbreviations and phrases of chest radiography mean in standard terms. Pure data.

Alternatives are separated by `|`, in American spelling and singular; `gen.language.words` brings text into that form.
"""

from __future__ import annotations

# How a finding is written, first the canonical noun; each of these reads back to exactly this finding.
NOUNS = {
    "Enlarged Cardiomediastinum": "enlarged cardiomediastinum|mediastinal widening|cardiomediastinal enlargement",
    "Cardiomegaly": "cardiomegaly|cardiac enlargement",
    "Lung Opacity": "lung opacity|airspace opacity|pulmonary opacity|opacity",
    "Lung Lesion": "lung lesion|pulmonary lesion",
    "Edema": "pulmonary edema|edema|pulmonary oedema",
    "Consolidation": "consolidation|airspace consolidation",
    "Pneumonia": "pneumonia",
    "Atelectasis": "atelectasis|atelectatic change",
    "Pneumothorax": "pneumothorax",
    "Pleural Effusion": "pleural effusion|effusion|pleural fluid",
    "Pleural Other": "pleural abnormality",
    "Fracture": "fracture|rib fracture",
    "Support Devices": "support devices|support apparatus",
    "Infiltration": "infiltration|infiltrate|pulmonary infiltrate",
    "Mass": "mass|lung mass|pulmonary mass",
    "Nodule": "nodule|lung nodule|pulmonary nodule",
    "Emphysema": "emphysema|emphysematous change",
    "Fibrosis": "fibrosis|pulmonary fibrosis|fibrotic change",
    "Pleural Thickening": "pleural thickening|thickening of the pleura",
    "Hernia": "hernia|hiatal hernia|hiatus hernia",
    "COVID-19": "COVID-19",
    "Pneumocystis": "pneumocystis pneumonia",
    "Tuberculosis": "tuberculosis|pulmonary tuberculosis",
    "Hyperinflation": "hyperinflation|hyperexpansion",
    "Subcutaneous Emphysema": "subcutaneous emphysema|surgical emphysema",
    "Pneumomediastinum": "pneumomediastinum",
    "Pneumoperitoneum": "pneumoperitoneum",
    "Scoliosis": "scoliosis",
    "Retained Foreign Object": "retained foreign object|retained foreign body",
}

# Further words that are read but never written. Heart failure and congestion are Edema, and empyema or blood in the
# pleural space is Pleural Effusion, as CheXpert's labeller has the first; COPD is read as what a film shows of it.
SYNONYMS = {
    "Enlarged Cardiomediastinum": "mediastinal enlargement|mediastinal mass|enlarged mediastinal silhouette",
    "Cardiomegaly": "cardiac hypertrophy|enlarged cardiac silhouette|megalocardia|big heart",
    "Lung Opacity": "opacification|airspace disease|air space disease|air space opacity|ground glass opacity|ggo|"
    "ground glass|ground glass change|haziness|shadowing|interstitial opacity|interstitial marking|"
    "interstitial disease|interstitial lung disease|interstitial change|interstitial pattern|reticulation|"
    "reticular opacity|reticular marking|reticulonodular opacity|peribronchial thickening|bronchial wall thickening|"
    "peribronchial cuffing|parenchymal opacity|parenchymal density|lung density|white lung|whiteout|white out|"
    "opacified|opaque",
    "Lung Lesion": "lesion|lung tumor|pulmonary tumor|tumor|lung cancer|neoplasm|malignancy|metastasis|metastases|"
    "lung metastases|pulmonary metastases|cavity|cavitary lesion|carcinoma|bronchogenic carcinoma|coin lesion",
    "Edema": "lung edema|interstitial edema|alveolar edema|interstitial pulmonary edema|alveolar pulmonary edema|"
    "chf|congestive heart failure|heart failure|congestive failure|cardiac failure|vascular congestion|"
    "pulmonary vascular congestion|pulmonary congestion|pulmonary venous congestion|venous congestion|congestion|"
    "fluid overload|volume overload|kerley line|kerley b line|cephalization|congestive change",
    "Consolidation": "consolidated|consolidative opacity|consolidative change|lobar consolidation|consolidating|"
    "air space consolidation|lung consolidation|pulmonary consolidation",
    "Pneumonia": "pna|bronchopneumonia|lobar pneumonia|infection|bacterial pneumonia|viral pneumonia|lung infection|"
    "pulmonary infection|chest infection|infectious process|aspiration|aspiration pneumonia|pneumonic change|"
    "pneumonic infiltrate|pneumonitis|pneumoniae",
    "Atelectasis": "atelectases|atelectatic|collapse|lung collapse|lobar collapse|volume loss|loss of volume|"
    "collapsed|collapsed lung|collapsed lobe|bandlike atelectasis|atelectatic band",
    "Pneumothorax": "pneumothoraces|ptx|pnx|tension pneumothorax|pneumothoraxes",
    "Pleural Effusion": "pl effusion|pleural collection|hydrothorax|hemothorax|hemothoraces|empyema|chylothorax|"
    "parapneumonic effusion|pleural liquid|fluid in the pleural space",
    "Pleural Other": "pleural disease|fibrothorax|pleural scarring|pleural plaque|pleural calcification|"
    "pleural lesion|pleural mass|pleural tumor|mesothelioma|other pleural abnormality",
    "Fracture": "fractured|fractured rib|broken rib|broken clavicle|fx|fx rib|rib fx|clavicle fracture|"
    "clavicular fracture|vertebral fracture|compression fracture|bony fracture|bone fracture|humeral fracture|"
    "scapular fracture|sternal fracture|vertebral compression fracture",
    "Support Devices": "support device|line and tube|tube and line|line or tube|tube or line|line|tube|catheter|"
    "medical device|monitoring device|life support device|support hardware|hardware|device|support line|"
    "support tube|line tube",
    "Infiltration": "lung infiltrate|interstitial infiltrate|infiltrative change|infiltrated|lung infiltration",
    "Mass": "masse|lung masse",
    "Nodule": "granuloma|calcified granuloma|nodular opacity|nodular density|spn|solitary pulmonary nodule",
    "Emphysema": "emphysematous|pulmonary emphysema|lung emphysema|copd|chronic obstructive pulmonary disease|bulla|"
    "bullae|bullous disease|bullous emphysema|bullous change",
    "Fibrosis": "lung fibrosis|fibrotic|scarring|scar|pulmonary scarring|lung scarring|ipf|honeycombing|"
    "interstitial fibrosis|parenchymal scarring|idiopathic pulmonary fibrosis|fibrotic scarring",
    "Pleural Thickening": "thickened pleura|pleural cap",
    "Hernia": "diaphragmatic hernia|herniation|paraesophageal hernia",
    "COVID-19": "covid|covid19|sars cov 2|coronavirus|coronavirus disease",
    "Pneumocystis": "pneumocystis|pcp|pjp|pneumocystis jirovecii|pneumocystis jirovecii pneumonia|"
    "pneumocystis carinii pneumonia",
    "Tuberculosis": "tb|tuberculous disease|tuberculous",
    "Hyperinflation": "hyperinflated|hyperexpanded|overinflated|overinflation|air trapping|hyperaeration|"
    "hyperinflated lung|hyperexpanded lung|hyperlucency|hyperlucent|hyperaerated",
    "Subcutaneous Emphysema": "soft tissue emphysema|subcutaneous air|subcutaneous gas|soft tissue gas",
    "Pneumomediastinum": "mediastinal emphysema|mediastinal air|mediastinal gas",
    "Pneumoperitoneum": "free air|free gas|free intraperitoneal air|free intraperitoneal gas|"
    "free subdiaphragmatic air|free air under the diaphragm|free gas under the diaphragm|air under the diaphragm|"
    "gas under the diaphragm|free abdominal air|intraperitoneal air|subdiaphragmatic air|"
    "free air under the hemidiaphragm",
    "Scoliosis": "scoliotic|scoliotic curvature|spinal curvature|kyphoscoliosis",
    "Retained Foreign Object": "foreign object|foreign body|retained surgical item|retained sponge|retained needle|"
    "retained surgical sponge|retained surgical instrument|gossypiboma|foreign material",
}

# Words that say two findings at once.
DOUBLES = {
    ("Pneumothorax", "Pleural Effusion"): "hydropneumothorax|hemopneumothorax",
    ("COVID-19", "Pneumonia"): "covid 19 pneumonia|covid pneumonia|coronavirus pneumonia|sars cov 2 pneumonia",
}

# What kind of extent a finding has: size words ("small, large") or degree words ("mild, severe").
SIZED = frozenset(
    {"Pleural Effusion", "Pneumothorax", "Lung Lesion", "Mass", "Nodule", "Hernia", "Retained Foreign Object"}
)
SIZE_WORDS = {"mild": "small", "moderate": "moderate", "severe": "large"}
SEVERITY_WORDS = {
    "mild": "mild|mildly|small|minimal|minimally|tiny|trace|slight|slightly|minor|minute|small volume|small sized|"
    "small amount of|trace amount of|low grade",
    "moderate": "moderate|moderately|moderate sized|medium|medium sized|moderate volume|moderate amount of|mod",
    "severe": "severe|severely|large|massive|massively|marked|markedly|extensive|extensively|huge|gross|"
    "large volume|large sized|big|substantial|large amount of|advanced",
}

# (side, zone). Lobes are read as zones: on a frontal film a lobe is where it projects to.
PLACES = {
    ("left", None): "left|left sided|lt|l|left side|left hemithorax",
    ("right", None): "right|right sided|rt|r|right side|right hemithorax",
    ("bilateral", None): "bilateral|bilaterally|both|both side|both hemithorax|both hemithoraces|bilat|each side",
    (None, "upper"): "upper|upper zone|upper lung zone|upper lobe|upper lung|upper lung field|apex|apical|apices|"
    "suprahilar|upper field",
    (None, "middle"): "middle|middle zone|middle lung zone|middle lobe|mid|mid zone|midzone|mid lung|midlung|"
    "mid lung zone|mid lung field|perihilar|middle lung|mid field|parahilar",
    (None, "lower"): "lower|lower zone|lower lung zone|lower lobe|lower lung|lower lung field|base|lung base|basal|"
    "basilar|infrahilar|lower field|supradiaphragmatic",
    ("right", "upper"): "rul|right apex",
    ("right", "middle"): "rml",
    ("right", "lower"): "rll",
    ("left", "upper"): "lul|left apex",
    ("left", "middle"): "lingula|lingular",
    ("left", "lower"): "lll|retrocardiac",
    ("bilateral", "upper"): "biapical|bilateral apical",
    ("bilateral", "lower"): "bibasilar|bibasal",
}

# How a device is written, first the canonical noun.
DEVICE_NOUNS = {
    "endotracheal tube": "endotracheal tube|ETT|ET tube",
    "tracheostomy tube": "tracheostomy tube|tracheostomy",
    "nasogastric tube": "nasogastric tube|NG tube|enteric tube",
    "central venous catheter": "central venous catheter|central line|CVC",
    "PICC line": "PICC line|PICC",
    "port catheter": "port catheter|port-a-cath",
    "dialysis catheter": "dialysis catheter|haemodialysis catheter",
    "pulmonary artery catheter": "pulmonary artery catheter|Swan-Ganz catheter",
    "intra-aortic balloon pump": "intra-aortic balloon pump|IABP",
    "chest tube": "chest tube|chest drain",
    "pacemaker": "pacemaker|cardiac pacemaker",
    "ICD": "ICD|implantable cardioverter defibrillator",
    "sternal wires": "sternal wires|sternotomy wires",
    "prosthetic heart valve": "prosthetic heart valve|prosthetic valve",
    "surgical clips": "surgical clips",
    "spinal hardware": "spinal hardware|spinal fusion hardware",
    "ECG leads": "ECG leads|monitoring leads",
}
DEVICE_SYNONYMS = {
    "endotracheal tube": "endotracheal|intubated|intubation|endotracheal intubation|breathing tube",
    "tracheostomy tube": "tracheostomy cannula|trach|trach tube",
    "nasogastric tube": "ngt|ogt|og tube|orogastric tube|feeding tube|dobhoff tube|dobbhoff tube|dobhoff|dobbhoff|"
    "gastric tube|nasoenteric tube|ng",
    "central venous catheter": "central venous line|cvl|central catheter|ij line|ij catheter|internal jugular line|"
    "internal jugular catheter|internal jugular central line|ij central line|subclavian line|subclavian catheter|"
    "jugular line|jugular catheter|subclavian central line|internal jugular central venous catheter|"
    "ij central venous catheter|subclavian central venous catheter|jugular central venous catheter",
    "PICC line": "picc catheter|peripherally inserted central catheter",
    "port catheter": "port|port a cath|portacath|mediport|chest port|port a cath catheter",
    "dialysis catheter": "hemodialysis catheter|hd catheter|permcath|tunneled dialysis catheter",
    "pulmonary artery catheter": "swan ganz|pa catheter|swan",
    "intra-aortic balloon pump": "balloon pump|intraaortic balloon pump|aortic balloon pump",
    "chest tube": "intercostal drain|pleural drain|thoracostomy tube|pigtail|pigtail catheter|pigtail drain|drain|"
    "intercostal tube|thoracic drain|chest drainage tube|intercostal catheter|pleural catheter|thoracostomy",
    "pacemaker": "pacer|ppm|pacing lead|pacing wire|pacemaker lead|pacer lead|pacing device|pacemaker device|"
    "dual chamber pacemaker|single chamber pacemaker|permanent pacemaker|pacer wire|pacemaker wire",
    "ICD": "aicd|defibrillator|cardioverter defibrillator|automatic implantable cardioverter defibrillator|icd lead|"
    "defibrillator lead",
    "sternal wires": "median sternotomy wire|median sternotomy|sternotomy|sternal suture|sternal wire suture|"
    "sternal cerclage wire",
    "prosthetic heart valve": "valve prosthesis|mechanical valve|valve replacement|artificial valve|heart valve|"
    "aortic valve replacement|mitral valve replacement|prosthetic aortic valve|prosthetic mitral valve|avr|mvr|tavi|"
    "tavr|mechanical heart valve|cardiac valve prosthesis|aortic valve prosthesis|mitral valve prosthesis",
    "surgical clips": "clip|surgical staple|cabg clip|mediastinal clip|axillary clip|vascular clip",
    "spinal hardware": "spinal fusion|spinal rod|pedicle screw|harrington rod|spinal instrumentation",
    "ECG leads": "ekg lead|telemetry lead|ecg electrode|ekg electrode|ecg wire|monitor lead|ecg",
}

# Parts of the chest and what an adjective says of them: part -> {adjective: ((finding, state), ...)}.
# "enlarged" may be graded, "normal" and "clear" rule out. A blunted angle may be fluid or a scar, so it is uncertain.
PART_WORDS = {
    "heart": "heart|cardiac silhouette|heart size|cardiac size|cardiac shadow|heart shadow|cardiac contour|"
    "heart contour|cardiac silhouette size|heart border|cardiac border|size of the heart|cardiothoracic ratio|"
    "heart silhouette",
    "cardiomediastinum": "cardiomediastinal silhouette|cardiomediastinal contour|cardiomediastinum|"
    "cardiomediastinal structure|cardiomediastinal shadow|cardio mediastinal silhouette|cardiomediastinal border",
    "mediastinum": "mediastinum|mediastinal contour|mediastinal silhouette|mediastinal structure|"
    "superior mediastinum|mediastinal border|mediastinal shadow",
    "lungs": "lung|lung field|lung parenchyma|pulmonary parenchyma|lung zone",
    "angles": "costophrenic angle|cp angle|costophrenic sulcus|costophrenic sulci|costophrenic recess|"
    "lateral costophrenic angle|lateral costophrenic sulcus",
    "pleura": "pleura|pleural space|pleural surface|pleural cavity",
    "bones": "bone|osseous structure|bony structure|bony thorax|skeleton|rib|bony skeleton|visualized bone|rib cage|"
    "bony cage|clavicle|osseous thorax",
    "vessels": "pulmonary vasculature|pulmonary vascularity|pulmonary vessel|vasculature|vascularity|"
    "lung vasculature|pulmonary vascular marking|vascular marking|lung marking|pulmonary vascular pattern",
    "chest": "chest|study|exam|examination|radiograph|film|cxr|x ray|xray|xr|chest radiograph|chest x ray|"
    "chest xray|chest film|chest xr|thorax|chest study|image|chest image|chest examination|frontal chest radiograph|"
    "chest exam|radiography|chest radiography|radiogram",
}
ADJECTIVE_WORDS = {
    "normal": "normal|unremarkable|within normal limit|wnl|normal in size|normal sized|healthy|not remarkable|"
    "unremarkable in appearance|normal in appearance|normal in size and contour|preserved|normally aerated",
    "clear": "clear|sharp|clear of any abnormality|spared|free",
    "enlarged": "enlarged|enlargement|enlargement of|widened|widening|widening of|prominent|dilated|increased in size",
    "borderline": "borderline enlarged|upper limit of normal|top normal|at the upper limit of normal|"
    "borderline in size|borderline|upper normal|upper limit of normal in size|top normal in size",
    "blunted": "blunted|blunting|blunting of|obscured|effaced",
    "congested": "congested|engorged|indistinct|engorgement|indistinctness",
    "intact": "intact",
    "abnormal": "abnormal|not normal",
}
READINGS: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {
    ("heart", "normal"): (("Cardiomegaly", "absent"),),
    ("heart", "enlarged"): (("Cardiomegaly", "present"),),
    ("heart", "borderline"): (("Cardiomegaly", "uncertain"),),
    ("cardiomediastinum", "normal"): (("Cardiomegaly", "absent"), ("Enlarged Cardiomediastinum", "absent")),
    ("cardiomediastinum", "enlarged"): (("Enlarged Cardiomediastinum", "present"),),
    ("cardiomediastinum", "borderline"): (("Enlarged Cardiomediastinum", "uncertain"),),
    ("mediastinum", "normal"): (("Enlarged Cardiomediastinum", "absent"),),
    ("mediastinum", "clear"): (("Enlarged Cardiomediastinum", "absent"),),
    ("mediastinum", "enlarged"): (("Enlarged Cardiomediastinum", "present"),),
    ("mediastinum", "borderline"): (("Enlarged Cardiomediastinum", "uncertain"),),
    ("lungs", "normal"): (("Lung Opacity", "absent"),),
    ("lungs", "clear"): (("Lung Opacity", "absent"),),
    ("angles", "normal"): (("Pleural Effusion", "absent"),),
    ("angles", "clear"): (("Pleural Effusion", "absent"),),
    ("angles", "blunted"): (("Pleural Effusion", "uncertain"),),
    ("pleura", "normal"): (("Pleural Effusion", "absent"), ("Pneumothorax", "absent")),
    ("pleura", "clear"): (("Pleural Effusion", "absent"), ("Pneumothorax", "absent")),
    ("bones", "normal"): (("Fracture", "absent"),),
    ("bones", "intact"): (("Fracture", "absent"),),
    ("vessels", "normal"): (("Edema", "absent"),),
    ("vessels", "enlarged"): (("Edema", "present"),),
    ("vessels", "congested"): (("Edema", "present"),),
    ("chest", "normal"): (("No Finding", "present"),),
    ("chest", "clear"): (("Lung Opacity", "absent"),),
    ("chest", "abnormal"): (("No Finding", "absent"),),
}

# "No abnormality": the nouns that, ruled out, rule out what stands beside them. The first line rules out everything.
ABNORMALITIES: dict[tuple[str, ...], str] = {
    (
        "No Finding",
    ): "abnormality|disease|process|finding|pathology|cardiopulmonary abnormality|cardiopulmonary disease|"
    "cardiopulmonary process|cardiopulmonary finding|cardiopulmonary pathology|abnormal finding|chest abnormality|"
    "thoracic abnormality|intrathoracic abnormality|intrathoracic process|cardiopulmonary findings|chest disease|"
    "disease process|radiographic abnormality|cardiothoracic abnormality|cardiopulmonary change|chest pathology|"
    "thoracic disease|thoracic process|intrathoracic disease|intrathoracic pathology|anomaly",
    ("Lung Opacity",): "pulmonary disease|pulmonary abnormality|lung abnormality|pulmonary process|lung disease|"
    "parenchymal abnormality|parenchymal disease|pulmonary pathology|lung pathology|"
    "pulmonary parenchymal abnormality",
    ("Fracture",): "bony abnormality|osseous abnormality|skeletal abnormality|bone abnormality|bony lesion|"
    "osseous lesion|bony pathology|osseous pathology|osseous finding|bone lesion|rib abnormality|bony finding",
    ("Enlarged Cardiomediastinum",): "mediastinal abnormality|cardiomediastinal abnormality",
    ("Cardiomegaly",): "cardiac abnormality|heart abnormality",
}
# Present findings that "no acute abnormality" cannot stand beside; beside others it means "nothing new".
ACUTE = frozenset(
    {"Edema", "Consolidation", "Pneumonia", "Pneumothorax", "Pleural Effusion", "COVID-19", "Pneumocystis"}
    | {"Pneumomediastinum", "Pneumoperitoneum"}
)

# Things of a chest film that have no standard term: named in a warning, and they take the negation meant for them.
WITHOUT_TERM = (
    "pericardial effusion|tortuous aorta|aortic tortuosity|aortic calcification|aortic atherosclerosis|"
    "atherosclerotic calcification|calcified aorta|calcification|lymphadenopathy|adenopathy|hilar adenopathy|"
    "hilar enlargement|hilar prominence|elevated hemidiaphragm|hemidiaphragm elevation|elevated diaphragm|"
    "degenerative change|osteopenia|osteoporosis|low lung volume|small lung volume|reduced lung volume|lung volume|"
    "bronchiectasis|pulmonary embolism|dextrocardia|situs inversus|kyphosis|spondylosis|osteophyte|aneurysm|"
    "aortic aneurysm|eventration|azygos lobe|cervical rib|tracheal deviation|midline shift|mediastinal shift|"
    "aortic knob|aorta|aortic arch|trachea|hilum|hila|hilar contour|hilar structure|diaphragm|hemidiaphragm|"
    "soft tissue|upper abdomen|spine|thoracic spine|subcutaneous tissue|air bronchogram|bronchogram|stent|"
    "gastric bubble|bowel gas|pulmonary hypertension|pulmonary artery|asthma|bronchitis|bronchiolitis|croup|"
    "sarcoidosis|cystic fibrosis|silicosis|asbestosis|pneumoconiosis|abscess|lung abscess|nipple shadow|skin fold|"
    "atherosclerosis"
)

# Cues. A cue before covers the findings that follow in its list; a cue after covers the list that it closes.
DENIES_BEFORE = (
    "no|without|not|neither|free of|free from|negative for|neg for|absence of|lack of|lacks|clear of|denies|excludes|"
    "rather than|instead of|resolution of|interval resolution of|disappearance of|no longer|removal of|"
    "interval removal of|never|no evidence of|no sign of|no evidence for|no finding of|no finding to suggest|"
    "no finding suggestive of|no evidence to suggest|no suggestion of|no suspicion of|no radiographic evidence of|"
    "no indication of|unlikely to represent|no abnormality such as|zero"
)
NOT_SEEN = "not|is not|are not|no longer|is no longer|are no longer|never|cannot be|not clearly"
SEEN = (
    "seen|identified|present|visualized|visible|demonstrated|evident|detected|appreciated|noted|observed|shown|"
    "found|apparent|suspected|there|confirmed|established|recognized|depicted|discernible|visualised"
)
DENIES_AFTER = (
    "resolved|has resolved|have resolved|completely resolved|absent|excluded|ruled out|has cleared|have cleared|"
    "cleared|has gone|gone|removed|removal|has been removed|have been removed|not the case|is negative|are negative|"
    "negative|neg|is neg|none|nothing|has disappeared|have disappeared|disappeared|was removed|were removed|is absent|"
    "are absent"
)
DOUBTS_BEFORE = (
    "to exclude|to rule out|doubt|doubtful|"
    "possible|possibly|probable|probably|likely|suspicion of|suspicion for|suspicious for|suspicious|"
    "suggests|suggest|suggesting|suggestive of|concerning for|concern for|worrisome for|questionable|question of|"
    "question|query|equivocal|may represent|may be|might be|might represent|could represent|could be|may reflect|"
    "could reflect|might reflect|may indicate|could indicate|may|might|could|cannot exclude|cannot rule out|"
    "not exclude|rule out|evaluate for|either|presumed|presumably|potential|potentially|unable to exclude|"
    "difficult to exclude|perhaps|does not exclude|do not exclude|cannot entirely exclude|cannot completely exclude|"
    "maybe|may have|might have|could have|may suggest|uncertain|not excluding|raises the possibility of|"
    "raising the possibility of|possibility of|suspect"
)
DOUBTS_AFTER = (
    "cannot be excluded|not excluded|cannot be ruled out|not ruled out|is possible|are possible|is questioned|"
    "is suspected|are suspected|cannot be entirely excluded|cannot be completely excluded|not entirely excluded|"
    "cannot entirely be excluded|is likely|are likely|in question|is uncertain|are uncertain|is equivocal|"
    "not completely excluded|is unlikely|unlikely|is not excluded|are not excluded|is questionable|questioned|"
    "considered|should be considered|in the differential|cannot be definitely excluded|may be present|"
    "could be present|might be present|is probable|is not ruled out|to be excluded|suspected"
)
# Words with a "no" in them that deny nothing.
DENIES_NOTHING = "not only|no doubt"
# Turning points: what was denied or doubted before no longer is.
TURNS = (
    "but|however|although|though|with|which|while|whereas|yet|now|showing|shows|show|showed|demonstrates|"
    "demonstrate|reveals|reveal|demonstrating|revealing|there is|there are|there was|there were|consistent with|"
    "compatible with|in keeping with|due to|secondary to|caused by|because of|representing|represents|has|have|"
    "having|but also|but there is|associated with|along with|together with|then|still|instead|after|before|"
    "following|followed by|when|where|if|because|since|plus|indicating|indicates|reflecting|reflects|positive for|"
    "nonetheless"
)
# What says that a finding is there. The weak ones close a denied list as well: "no effusion or mass is seen".
BEING = ("is ", "are ", "was ", "were ", "is again ", "are again ", "is also ", "are also ", "is still ", "are still ")
ASSERTS = {
    "weak": "seen|identified|visualized|demonstrated|evident|detected|appreciated|observed|shown|found|apparent",
    "strong": "present|noted|there|known|confirmed",
}
ASSERTS_ALONE = (
    "present|noted|again seen|again noted|again demonstrated|again identified|still seen|still present|still noted|"
    "persist|persists|remain|remains|known|in place|in situ|in position|positive|pos"
)
# Words of a course: what is unchanged or old is there; what is worsening may be part of what is denied.
ASSERTING = (
    "stable|unchanged|persistent|persisting|residual|chronic|old|known|again|healed|healing|previous|previously|"
    "long standing"
)
# How something went on since an earlier image, in words before or behind it; what came to an end, and what nearly did.
COURSES = (
    "changed|increase|increased|increasing|decrease|decreased|decreasing|worsening|worsened|worse|improvement|"
    "improved|improving|progression|progressed|progressing|progressive|enlarging|growth|grown|growing|"
    "reduction|reduced|diminished|regression|regressed|deterioration|deteriorated|expansion|expanding|larger|smaller|"
    "bigger|better|greater|shrunk"
)
COURSE_NOUNS = "increase|decrease|improvement|progression|growth|reduction|regression|deterioration|expansion"
COMPARING = f"{COURSES}|interval increase|interval decrease|resolving|recurrent|new|developing|evolving"
ENDINGS = "resolved|resolution|cleared|disappeared|disappearance|gone|removed|removal|absent"
PARTLY = "partial|partially|partly|incomplete|incompletely|near|nearly|almost|mostly|largely"
DEGREES = (
    "interval|further|complete|completely|fully|entirely|totally|significantly|appreciably|substantially|yet|been|"
    "quite|really|measurable|noticeable|appreciable|discernible|relevant|major|material"
)
EXCEPTIONS = "except for|except|other than|apart from|aside from|besides|save for|with the exception of|excepting"

# Words that carry no fact, or none that the sentence does not already say.
FILLERS = (
    "there|is|are|was|were|be|been|being|of|to|this|that|these|those|it|its|his|her|their|he|she|they|"
    "patient|pt|person|individual|subject|case|presence|evidence|evidence of|sign|sign of|finding of|"
    "finding suggestive of|finding consistent with|finding compatible with|finding in keeping with|"
    "finding concerning for|finding to suggest|indication|definite|definitely|obvious|convincing|any|other|further|"
    "clinically|radiographic|radiographically|radiological|overt|frank|visible|seen|identified|"
    "visualized|demonstrated|evident|detected|appreciated|observed|shown|found|apparent|appear|appears|"
    "appearing|as|for|by|through|also|again|well|view|projection|size|sized|type|age|aged|old|years|"
    "year|yo|yr|y|seen today|today|impression|indication|zone|lobe|field|side|"
    "sided|region|area|aspect|contour|limit|structure|level|cardiopulmonary|pulmonary|cardiac|pleural|"
    "thoracic|synthetic|please|generate|create|make|draw|give|me|of the|"
    "clearly|so|do|does|did|who|whose|grossly|overall|otherwise|specific|particular|obviously|"
    "additional|such|some|one|least|at least|position|positioned|placed|"
    "taken|performed|obtained|acquired|exposure|technique|comparison|none available|digital|plain|conventional|"
    "clinical|information|history|presenting|gender|sex|race|ethnicity|identifying|"
    "self reported|self identified|report|reports|diagnosis|diagnosed|label|labelled|labeled|including|include|"
    "includes|status post|bony|osseous|amount|change|suggestion|into|out|up|entire|whole|placement|hemithorax|"
    "hemithoraces|body|human|real|realistic|well expanded|well aerated|well inflated|expanded|inflated|from|"
    "appearance|picture|scan|photo|very|somewhat|approximately|can|would|note|described|specifically|typical|"
    "normally|consider|recommended|recommend|most|common|related|about|quite|rather|just|only|than|favored|felt|"
    "thought|believed|comparison|consists|all|every|each|new finding|no prior|count|number|number of|value"
)
# Synonyms that say more than the standard term does, which matters most where they are denied.
NARROWER = (
    "hydrothorax|hemothorax|hemothoraces|empyema|chylothorax|tension|parapneumonic|lobar|interstitial|alveolar|"
    "aspiration|bacterial|viral|jirovecii|cavity|cavitary|bronchogenic|carcinoma|cancer|metastasis|metastases|"
    "malignancy|neoplasm|tumor|compression|vertebral|clavicle|clavicular|humeral|scapular|sternal|calcified|"
    "solitary|coin|nodular|reticular|reticulonodular|bandlike|honeycombing|bullous|paraesophageal|mesothelioma|"
    "plaque|calcification|kerley|hypertrophy|peribronchial|bronchial"
)

# Understood, but not part of the language of studies: named in a warning.
NOT_CARRIED = (
    "frontal|semi erect|semi upright|semierect|patchy|streaky|hazy|linear|dense|chronic|stable|unchanged|worsening|"
    "worsened|improving|improved|increased|increasing|decreased|decreasing|resolving|persistent|loculated|layering|"
    "subpulmonic|diffuse|diffusely|multifocal|interstitial|alveolar|subsegmental|segmental|discoid|platelike|"
    "plate like|bandlike|confluent|nodular|reticular|rounded|round|spiculated|calcified|cavitary|cavitating|"
    "peripheral|central|anterior|posterior|medial|lateral|basally|subpleural|tension|displaced|healed|healing|"
    "partial|complete|completely|partially|lobar|recurrent|residual|progressive|early|late|right greater than left|"
    "left greater than right|greater than|right worse than left|left worse than right|worse|greater|tip|carina|svc|"
    "cavoatrial junction|atrium|right atrium|stomach|terminates|terminating|terminate|ends|above|below|near|fissure|"
    "minor fissure|major fissure|interval|previous|prior|compared|ct|mri|hypertensive|smoker|fever|cough|dyspnea|"
    "shortness of breath|pain|chest pain|bilious|icu|emergency|department|postoperative|preoperative|post operative|"
    "trauma|follow up|followup|admission|wall|chest wall|aortic|vascular|mediastinal|hilar|granulomatous|skeletal|"
    "costophrenic|cervical|atherosclerotic|prominence|tortuosity|deformity|midline|density|scattered|several|"
    "multiple|few|two|single|solitary|history of|lymph node|"
    "crowding|bronchovascular|surgical|postsurgical|distal|proximal|inferior|superior|adjacent|underlying|subtle|"
    "vertebral|joint|shoulder|abdomen|elevation|cardiomediastinal|parenchymal|previously|numerous|airway|junction|"
    "mediastinal node|bacterial|viral|fungal|low|high|elevated|tortuous|poor|good|inspiration|expiration|rotated|"
    "rotation|suboptimal|limited|expiratory|inspiratory|decubitus|oblique|lordotic|underpenetrated|overpenetrated|"
    "cardiogenic|obstructive|dependent|parapneumonic|persisting|increase|decrease|interval increase|"
    "interval decrease|long standing|sizeable|hemorrhagic|infectious|united"
)

# Who and how.
SEX_WORDS = {"M": "m|male|man|gentleman|masculine", "F": "f|female|woman|lady|feminine"}
CHILD_SEX_WORDS = {"M": "boy|schoolboy", "F": "girl|schoolgirl"}
AGE_GROUP_WORDS = {
    "child": "child|children|pediatric|infant|toddler|baby|kid|teenager|adolescent|minor patient",
    "adult": "adult|grown up|elderly|geriatric",
}
NEWBORN_WORDS = "newborn|neonate|neonatal|newborn baby|newborn infant"
RACE_WORDS = {
    "White": "white|caucasian",
    "Black": "black|african american|black african american|african",
    "Asian": "asian|east asian|south asian|asian american",
    "Hispanic": "hispanic|latino|latina|latinx|hispanic latino",
    "Native American": "native american|american indian|alaska native|american indian alaska native",
    "Pacific Islander": "pacific islander|native hawaiian|hawaiian",
}
VIEW_WORDS = {
    "PA": "pa|posteroanterior|postero anterior|pa view|pa projection|posterior anterior",
    "AP": "ap|anteroposterior|antero posterior|ap view|ap projection|anterior posterior",
    "lateral": "lateral view|lateral projection|lateral chest|lateral film|lateral radiograph|"
    "lateral chest radiograph|lateral x ray|lateral chest x ray|left lateral|right lateral|left lateral view|"
    "right lateral view|left lateral projection|lateral image|side view|left lateral chest radiograph|"
    "lateral chest view|profile view",
}
PORTABLE_WORDS = "portable|bedside|mobile|portably"
POSITION_WORDS = {
    "supine": "supine|lying|lying down|recumbent|supine position",
    "erect": "erect|upright|standing|sitting|seated|erect position|standing position",
}

# Words of other languages that no English report holds; one of them is enough to ask for English.
FOREIGN = (
    "der|das|und|mit|ohne|kein|keine|keinen|eine|einer|eines|einem|einen|nicht|ist|mann|frau|rechts|links|el|los|"
    "con|una|mujer|hombre|anos|derrame|neumotorax|izquierdo|derecho|izquierda|derecha|le|les|avec|sans|une|pas|"
    "femme|homme|ans|epanchement|droite|gauche|aucun|aucune|di|senza|uomo|donna|anni|destra|sinistra|versamento|sem|"
    "mulher|homem|com|nao|geen|een|zonder|vrouw"
)

# "is a kind of". The first six are CheXpert's label hierarchy (Irvin et al. 2019, figure 1). Mass and Nodule are what
# CheXpert's labeller counts as Lung Lesion, Pleural Thickening as Pleural Other, Infiltration ("infiltrate") as Lung
# Opacity. The infections are ours: each shows as a pneumonia, except tuberculosis, which may be scar or cavity and so
# only promises an opacity.
PARENTS = {
    "Cardiomegaly": "Enlarged Cardiomediastinum",
    "Lung Lesion": "Lung Opacity",
    "Edema": "Lung Opacity",
    "Consolidation": "Lung Opacity",
    "Atelectasis": "Lung Opacity",
    "Pneumonia": "Consolidation",
    "Pleural Thickening": "Pleural Other",
    "Mass": "Lung Lesion",
    "Nodule": "Lung Lesion",
    "Infiltration": "Lung Opacity",
    "COVID-19": "Pneumonia",
    "Pneumocystis": "Pneumonia",
    "Tuberculosis": "Lung Opacity",
}
