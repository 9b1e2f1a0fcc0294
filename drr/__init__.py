"""From CT to radiograph by physics: a Volume in, a Projection out. It knows nothing of prompts or diffusion."""
