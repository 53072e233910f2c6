"""Find the images that look like a photograph: what describes a picture, the index of all images, the nearest ones."""
