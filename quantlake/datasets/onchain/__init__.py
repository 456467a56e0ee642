"""Datasets of this family; the file name is the dataset's name."""
