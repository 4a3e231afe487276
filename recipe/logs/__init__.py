"""What a run says: console, journal, TensorBoard, pictures, estimates, faults in words."""
