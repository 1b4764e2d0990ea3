#!/bin/sh
# Forecast each value of a series by exponential smoothing of those before: smooth.sh FILE ALPHA
awk -v alpha="$2" '
  NR == 1 { next }                                    # the header
  NR == 2 { level = $2; next }
  { error = $2 - level; sum += error ^ 2; size += $2; level += alpha * error }
  END { n = NR - 2; printf "{\"rmse\": %.6f, \"relative\": %.6f}\n", sqrt(sum / n), 100 * sqrt(sum / n) / (size / n) }
' "$1"
