"""Sources of frames and sinks of results: files, cameras, streams and bags, without ROS."""
