"""What joins devices: links and switches, with rate, delay, loss and a bounded queue. Packets cross hosts only here."""
