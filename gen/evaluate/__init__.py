"""The evaluation: is a synthetic set good, does it say what its prompts say, is it diverse, does it copy patients?"""
