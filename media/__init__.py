"""Makes the pictures: screenshots, the demo, the icons. Needs Chromium, and ffmpeg for the demo."""
