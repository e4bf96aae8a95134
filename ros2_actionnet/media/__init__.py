"""Where frames come from and where results go: files, cameras, streams and bags, without ROS."""
