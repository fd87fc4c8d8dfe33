"""Detectors of the public package mmdet 3.x, exported without compiled mmcv."""
