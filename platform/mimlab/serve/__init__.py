"""What a team works with: the REST API, who may do what, the queue between users, the pages."""
