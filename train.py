"""The one entry point: `torchrun --nproc_per_node=2 train.py +recipe=v2 scale=demo`."""

from recipe.train import main

if __name__ == "__main__":
    main()
