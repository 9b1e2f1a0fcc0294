"""The files that people have, PNG, JPEG and DICOM, each read as what a radiologist would see of it."""
