"""Models as others publish them:
folders and hub ids of transformers, sentence-transformers and timm."""
