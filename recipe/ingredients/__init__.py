"""What a recipe is made of: one file per ingredient. They know torch and the config, not each other."""
