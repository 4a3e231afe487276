"""The workshop beside the data: known data sets from their downloads, splits, verifying, stores."""
