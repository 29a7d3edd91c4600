"""The cameras, printers and screens of the demo data.

Their ranges were chosen so that a capture's brightness, contrast, sharpness and file size say little about whether it
is an attack, while its local texture does: focus, noise, sharpening and JPEG quality vary more within each class than
between the classes. Attacks fill the frame with the face, which puts halftone cells and display pixels at one and a
half to four sensor pixels, where they alias.
"""

from .camera import Camera
from .presentation import Printer, Screen

CAMERAS = {
    "phone_a": Camera(
        name="phone_a", blur=(0.30, 0.56), lateral_colour=0.0, full_well=(2000, 12000), read_noise=4.0,
        demosaicing="edge_aware", denoising="bilateral", chroma_blur=0.8, sharpening=(0.1, 1.0),
        sharpening_radius=1.0, saturation=1.10, curve=0.5, white_balance=0.05, bands=(1.5, 6.0),
        jpeg_quality=(74, 96), jpeg_slope=1.0, jpeg_subsampling="4:2:0",
    ),
    "webcam_b": Camera(
        name="webcam_b", blur=(0.34, 0.60), lateral_colour=0.0012, full_well=(1200, 6000), read_noise=7.0,
        demosaicing="bilinear", denoising="gaussian", chroma_blur=1.0, sharpening=(0.2, 1.3),
        sharpening_radius=1.4, saturation=0.95, curve=0.15, white_balance=0.08, bands=(3.0, 10.0),
        jpeg_quality=(72, 94), jpeg_slope=0.85, jpeg_subsampling="4:2:2",
    ),
    "tablet_c": Camera(
        name="tablet_c", blur=(0.34, 0.58), lateral_colour=0.0006, full_well=(2200, 11000), read_noise=5.0,
        demosaicing="malvar", denoising="median", chroma_blur=1.0, sharpening=(0.1, 1.0),
        sharpening_radius=0.9, saturation=1.15, curve=0.7, white_balance=0.06, bands=(2.0, 8.0),
        jpeg_quality=(74, 95), jpeg_slope=1.12, jpeg_subsampling="4:2:2",
    ),
}  # fmt: skip
# The camera of whoever made the picture that is printed or replayed; never the capturing device itself.
SOURCE_CAMERA = Camera(
    name="source", blur=(0.50, 0.95), lateral_colour=0.0, full_well=(2500, 12000), read_noise=4.0,
    demosaicing="edge_aware", denoising="gaussian", chroma_blur=0.8, sharpening=(0.2, 1.0),
    sharpening_radius=1.0, saturation=1.05, curve=0.3, white_balance=0.04, bands=(2.0, 6.0),
    jpeg_quality=(74, 95), jpeg_slope=1.0, jpeg_subsampling="4:2:0",
)  # fmt: skip
PRINTERS = {
    "print_laser": Printer(
        material="print_laser", screening="clustered", period=(2.3, 3.6), angles=(15, 75, 0, 45), inks="toner",
        dot_gain=(0.1, 0.5), scatter=(0.58, 0.72), grain=(0.01, 0.05), gloss=0.06,
    ),
    "print_inkjet": Printer(
        material="print_inkjet", screening="dispersed", period=(1.0, 1.4), angles=(0, 0, 0, 0), inks="dye",
        dot_gain=(0.2, 0.7), scatter=(0.62, 0.78), grain=(0.02, 0.08), gloss=0.02,
    ),
    "print_offset": Printer(
        material="print_offset", screening="clustered", period=(2.1, 3.2), angles=(75, 15, 90, 45), inks="dye",
        dot_gain=(0.1, 0.4), scatter=(0.52, 0.66), grain=(0.01, 0.03), gloss=0.15,
    ),
}  # fmt: skip
SCREENS = {
    "replay_monitor": Screen(
        material="replay_monitor", layout="stripe", pitch=(1.5, 2.4), fill=0.85, haze=(0.35, 0.50),
        primaries=((0.90, 0.08, 0.02), (0.06, 0.88, 0.06), (0.01, 0.07, 0.95)),
        black_level=(0.005, 0.03), flicker=(0.0, 0.12), gloss=0.03,
    ),
    "replay_phone": Screen(
        material="replay_phone", layout="pentile", pitch=(1.4, 2.3), fill=0.95, haze=(0.30, 0.48),
        primaries=((1.08, -0.06, -0.02), (-0.04, 1.06, -0.02), (-0.01, -0.03, 1.08)),
        black_level=(0.0, 0.004), flicker=(0.0, 0.25), gloss=0.10,
    ),
    "replay_tablet": Screen(
        material="replay_tablet", layout="stripe_vertical", pitch=(1.4, 2.4), fill=0.80, haze=(0.35, 0.50),
        primaries=((0.95, 0.04, 0.01), (0.03, 0.94, 0.03), (0.01, 0.04, 0.97)),
        black_level=(0.003, 0.015), flicker=(0.0, 0.15), gloss=0.08,
    ),
    "replay_laptop": Screen(
        material="replay_laptop", layout="chevron", pitch=(1.5, 2.4), fill=0.75, haze=(0.35, 0.50),
        primaries=((0.80, 0.14, 0.05), (0.10, 0.82, 0.09), (0.03, 0.12, 0.85)),
        black_level=(0.01, 0.04), flicker=(0.0, 0.20), gloss=0.05,
    ),
}  # fmt: skip
