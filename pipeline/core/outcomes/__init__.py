"""From what a subject did to the decision it came of: exposures, credit, and the records of the topic `outcomes`."""
