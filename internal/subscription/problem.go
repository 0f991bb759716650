package subscription

import "github.com/jetpost/jetpost/internal/subscription/validation"

type (
	// A Problem is one thing that is wrong with a subscription.
	Problem = validation.Problem
	// A ValidationError is all that is wrong with a subscription.
	ValidationError = validation.Error
)
