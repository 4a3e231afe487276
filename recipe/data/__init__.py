"""From files to micro-batches: datasets, decoding, transforms, the order of an epoch, loading."""
