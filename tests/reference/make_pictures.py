"""cmyk.jpg: a JPEG of four inks as print programs write them, a quarter in each of four colours."""
import numpy as np
from PIL import Image

import golden

corners = np.array([[230, 20, 20], [20, 230, 20], [20, 20, 230], [230, 230, 20]], np.uint8).reshape(2, 2, 3)
picture = Image.fromarray(corners.repeat(16, 0).repeat(16, 1)).convert("CMYK")
picture.save(golden.FIXTURES / "cmyk.jpg", quality=90, optimize=True)
