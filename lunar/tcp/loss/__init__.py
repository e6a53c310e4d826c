"""What an acknowledgment says of what was sent: measured, found lost, sent again."""
