"""Close reasons: why opportunities are won or lost."""
