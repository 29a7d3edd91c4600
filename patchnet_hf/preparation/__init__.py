"""From a tree of images or videos, as a camera or a download leaves it, to an image folder with CSV lists."""
