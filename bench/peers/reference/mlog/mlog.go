// SPDX-License-Identifier: Apache-2.0

// Package mlog implements the part of monis.app/mlog that the reference's programs use, with klog.
package mlog

import (
	"context"
	"fmt"
	"os"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

// LogLevel names how much is logged.
type LogLevel string

// Levels, from least to most.
const (
	LevelWarning LogLevel = ""
	LevelInfo    LogLevel = "info"
	LevelDebug   LogLevel = "debug"
	LevelTrace   LogLevel = "trace"
	LevelAll     LogLevel = "all"
)

// LogFormat names how lines are written.
type LogFormat string

// Formats that the reference uses; the lines here are klog's in both.
const (
	FormatJSON LogFormat = "json"
	FormatCLI  LogFormat = "cli"
)

// LogSpec is level and format together.
type LogSpec struct {
	Level  LogLevel
	Format LogFormat
}

var verbosities = map[LogLevel]klog.Level{
	LevelWarning: 0, LevelInfo: 2, LevelDebug: 4, LevelTrace: 6, LevelAll: 108,
}

var current klog.Level

// ValidateAndSetLogLevelAndFormatGlobally sets the level, or returns an error for an unknown name.
func ValidateAndSetLogLevelAndFormatGlobally(_ context.Context, spec LogSpec) error {
	verbosity, known := verbosities[spec.Level]
	if !known {
		return fmt.Errorf("invalid log level, valid choices are the empty string, info, debug, trace and all")
	}
	current = verbosity
	return nil
}

// Enabled returns whether lines of a level are written.
func Enabled(level LogLevel) bool {
	return current >= verbosities[level]
}

// Setup starts logging and returns the function that ends it.
func Setup() func() { return klog.Flush }

// Logr returns the logger for libraries.
func Logr() logr.Logger { return klog.Background() }

// Logger writes lines with a name and values.
type Logger struct{ to logr.Logger }

// New makes a logger.
func New() Logger { return Logger{to: klog.Background()} }

// WithName makes a logger with a name.
func WithName(name string) Logger { return New().WithName(name) }

// WithValues makes a logger with values.
func WithValues(values ...any) Logger { return New().WithValues(values...) }

// WithName adds a name to a logger.
func (l Logger) WithName(name string) Logger { return Logger{to: l.to.WithName(name)} }

// WithValues adds values to every line of a logger.
func (l Logger) WithValues(values ...any) Logger { return Logger{to: l.to.WithValues(values...)} }

func (l Logger) at(level LogLevel, message string, values []any) {
	if Enabled(level) {
		l.to.Info(message, values...)
	}
}

// Debug writes a line of that level.
func (l Logger) Debug(message string, values ...any) { l.at(LevelDebug, message, values) }

// Info writes a line of that level.
func (l Logger) Info(message string, values ...any) { l.at(LevelInfo, message, values) }

// Warning writes a line of that level.
func (l Logger) Warning(message string, values ...any) { l.at(LevelWarning, message, values) }

// Error writes a line at every level.
func (l Logger) Error(message string, err error, values ...any) {
	l.to.Error(err, message, values...)
}

// Debug writes a line of that level.
func Debug(message string, values ...any) { New().Debug(message, values...) }

// Info writes a line of that level.
func Info(message string, values ...any) { New().Info(message, values...) }

// Warning writes a line of that level.
func Warning(message string, values ...any) { New().Warning(message, values...) }

// Error writes a line at every level.
func Error(message string, err error, values ...any) { New().Error(message, err, values...) }

// Fatal writes the error and ends the process.
func Fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
