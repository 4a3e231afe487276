"""What `recipe plan` computes before anything is trained: seeds, device-hours, money, processor cores, devices."""
