"""What operators that are not ONNX's own compute, written in standard operators; shared by their files and by passes."""
