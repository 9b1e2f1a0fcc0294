"""What is put into a patient: findings and devices of known place and size."""
