"""timm vision transformers, with the ways that masked image modeling runs them."""
