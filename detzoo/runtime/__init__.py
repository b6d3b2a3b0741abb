"""What many rooms share and what knows no detector: devices, files, folders, images, progress, tables."""
