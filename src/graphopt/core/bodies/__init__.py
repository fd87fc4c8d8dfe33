"""What foreign operators compute, written in standard operators; shared by their files and by passes."""
