"""What claims about training are decided by: experiments, a file a chapter, beside the claims."""
