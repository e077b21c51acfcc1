"""What made and judged the shipped models; imports the library, never the other way."""
