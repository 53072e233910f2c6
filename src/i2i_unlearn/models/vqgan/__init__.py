"""MAGE: an image tokenizer and a masked token transformer."""
