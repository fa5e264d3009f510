"""A fleet of `lenet-deploy serve`, simulated by discrete events with measured service times."""
