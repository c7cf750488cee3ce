"""Writes what a client drew where the comparison finds it: the directory that DXG_CLIENT_OUT names."""

import os


def place(name):
    """The path of a file of this run."""
    return os.path.join(os.environ["DXG_CLIENT_OUT"], name)


def write_rgb(name, width, height, pixels):
    """Writes rows of 8 bit RGB, top row first."""
    assert len(pixels) == width * height * 3, (len(pixels), width, height)
    with open(place(name + ".ppm"), "wb") as file:
        file.write(b"P6 %d %d 255\n" % (width, height))
        file.write(pixels)


def write_numbers(name, lines):
    """Writes text, one number or name on a line."""
    with open(place(name + ".txt"), "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
