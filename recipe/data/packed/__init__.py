"""Images in the archives that they came in, tar shards, ImageNet's tars, zips: read where they lie, not unpacked."""
