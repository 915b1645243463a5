"""The demo camera: procedural scenes, their truth, and the training of the bundled model."""
