// SPDX-License-Identifier: Apache-2.0

// Package mlog implements the part of monis.app/mlog that the Secrets Store CSI driver uses, with klog.
package mlog

import (
	"context"

	"k8s.io/klog/v2"
)

// LogFormat names how lines are written; they are klog's text in each format.
type LogFormat string

// Formats that the driver names.
const (
	FormatJSON LogFormat = "json"
	FormatText LogFormat = "text"
)

// ValidateAndSetKlogLevelAndFormatGlobally sets the verbosity.
func ValidateAndSetKlogLevelAndFormatGlobally(_ context.Context, level klog.Level, _ LogFormat) error {
	return level.Set(level.String())
}

// Setup starts logging and returns the function that ends it.
func Setup() func() { return klog.Flush }

// Error writes a message with its cause.
func Error(message string, err error, values ...any) { klog.ErrorS(err, message, values...) }

// Fatal writes the error and ends the process.
func Fatal(err error) { klog.Fatal(err) }
