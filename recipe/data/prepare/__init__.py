"""What is done with data before training: known data sets from their downloads, splits, verifying, stores."""
