"""What an evaluation says beyond its top-1: classes, confusions, calibration. Works on predictions alone."""
