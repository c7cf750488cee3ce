"""Runs a program under an X server of its own and keeps what it shows.

    screen.py last PROGRAM...       the program ends by itself; its last picture is kept
    screen.py settled PROGRAM...    it shows one picture for ever; that is kept, and the program ended
    screen.py moving PROGRAM...     it moves for ever; it is ended after some pictures, and what they have in common is kept

A window below the program's own has no background, so the server leaves the program's last picture in place when the
program's windows go.
"""

import os
import select
import signal
import subprocess
import sys
import time

from Xlib import X
from Xlib import display as xdisplay

import picture

WIDTH, HEIGHT = 800, 600
# Only guards against programs that show nothing at all.
PATIENCE_SECONDS = 60
# A picture that stays for so many looks, one each tenth of a second, is taken for the last.
LOOKS = 20
MOVING_PICTURES = 12


def start_server():
    read, write = os.pipe()
    screen = f"{WIDTH}x{HEIGHT}x24"
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", screen, "-nolisten", "tcp", "-noreset"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    if not select.select([read], [], [], PATIENCE_SECONDS)[0]:
        server.kill()
        sys.exit("Xvfb does not start")
    number = os.read(read, 16).decode().strip()
    if not number:
        sys.exit("Xvfb does not start")
    return server, f":{number}"


def cover(screen):
    """The window that keeps what was drawn above it."""
    window = screen.root.create_window(
        0, 0, WIDTH, HEIGHT, 0, screen.root_depth, X.InputOutput, override_redirect=1, background_pixel=0
    )
    window.map()
    window.clear_area()
    window.change_attributes(background_pixmap=X.NONE)
    return window


def look(display):
    """The whole screen as rows of RGB."""
    image = display.screen().root.get_image(0, 0, WIDTH, HEIGHT, X.ZPixmap, 0xFFFFFFFF).data
    pixels = bytearray(WIDTH * HEIGHT * 3)
    for place, channel in enumerate((2, 1, 0)):
        pixels[place::3] = image[channel::4]
    return bytes(pixels)


def is_blank(pixels):
    return pixels == pixels[:3] * (len(pixels) // 3)


def looks(display, program):
    """Pictures until the program ends or the patience does, one each tenth of a second."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until and program.poll() is None:
        yield look(display)
        time.sleep(0.1)


def settled(display, program):
    before, same = b"", 0
    for now in looks(display, program):
        same = same + 1 if now == before else 0
        before = now
        if same >= LOOKS and not is_blank(now):
            picture.write_rgb("screen", WIDTH, HEIGHT, now)
            return "settled"
    return "never settled"


def moving(display, program):
    """The colours of each picture, without where they are and how many there are of each."""
    seen = []
    for now in looks(display, program):
        if now not in seen and not is_blank(now):
            seen.append(now)
        if len(seen) == MOVING_PICTURES:
            break
    if len(seen) < MOVING_PICTURES:
        return f"only {len(seen)} pictures"
    picture.write_rgb("example.moving", WIDTH, HEIGHT, seen[-1])
    drawn = [{p[i : i + 3] for i in range(0, len(p), 3)} for p in seen]
    # What covers half of the screen's pixels in one run covers it in each.
    ever = bytearray(WIDTH * HEIGHT)
    background = seen[0][:3]
    for pixels in seen:
        for index in range(WIDTH * HEIGHT):
            if pixels[3 * index : 3 * index + 3] != background:
                ever[index] = 1
    rows = [row for row in range(HEIGHT) if any(ever[row * WIDTH : (row + 1) * WIDTH])]
    columns = [column for column in range(WIDTH) if any(ever[column::WIDTH])]
    print("moves over rows", rows[0], "to", rows[-1], "and columns", columns[0], "to", columns[-1])
    print("background", background.hex(), "colours", "many" if min(map(len, drawn)) > 8 else "few")
    return "moved"


def main():
    manner, command = sys.argv[1], sys.argv[2:]
    server, name = start_server()
    try:
        display = xdisplay.Display(name)
        cover(display.screen())
        display.sync()
        program = subprocess.Popen(command, env={**os.environ, "DISPLAY": name})
        if manner == "last":
            status = program.wait()
            print("ended with", status)
            last = look(display)
            print("shows nothing" if is_blank(last) else "shows a picture")
            picture.write_rgb("screen", WIDTH, HEIGHT, last)
        else:
            print({"settled": settled, "moving": moving}[manner](display, program))
            if program.poll() is not None:
                print("ended by itself with", program.returncode)
            program.send_signal(signal.SIGTERM)
            program.wait()
            status = 0
        display.close()
    finally:
        server.terminate()
        server.wait()
    sys.exit(status if status >= 0 else 128 - status)


main()
