"""What a face does in one frame: the columns of a pose track `[frames, len(POSE)]`, f32."""

POSE = (
    "open",         # jaw and lips apart: 0 closed, 1 as wide as speech gets (laughter up to 1.2)
    "wide",         # mouth's corners: -1 drawn in, 1 spread (ee)
    "round",        # lips rounded and pushed forward: 0 to 1 (oo)
    "tuck",         # lower lip under the upper teeth: 0 to 1 (f, v)
    "tongue",       # tongue raised to the teeth: 0 to 1 (l, th, n, d, t)
    "smile",        # mouth's corners: -1 down (sad), 1 up (happy)
    "brow_raise",   # -1 lowered, 1 raised
    "brow_furrow",  # 0 to 1, drawn together
    "lids",         # 0 open, 1 closed, down to -0.3 wide open
    "gaze_x",       # -1 to 1, right in the picture is positive
    "gaze_y",       # -1 to 1, down is positive
    "shift_x",      # of the head, fractions of the picture's side
    "shift_y",
    "roll",         # radians, clockwise in the picture
    "scale",        # of the head, 1 as it is
    "yaw",          # radians, small (up to 0.25): the nose goes to the right in the picture
    "pitch",        # radians, small: the nose goes down
)
COLUMN = {name: index for index, name in enumerate(POSE)}
FPS = 25
