"""`recipe bench`: what this machine loads and trains, beside other pipelines."""
