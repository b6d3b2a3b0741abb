"""Images in, detections out."""
