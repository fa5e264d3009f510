"""Images on their way in and answers on their way out: pictures, pixels, labels."""
