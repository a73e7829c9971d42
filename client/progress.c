/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "progress.h"

#include "output.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_INTERVAL (10 * G_USEC_PER_SEC)
#define RATE_INTERVAL (3 * G_USEC_PER_SEC) /* over which a disk's rate is measured */
#define MAX_NAME 20

/* The daemon measures the job; what each disk does is measured here. */
typedef struct {
  int64_t since;
  uint64_t bytes; /* at .since */
  uint64_t rate;
} Meter;

struct BkProgress {
  bool quiet;
  bool bars;
  unsigned drawn;     /* lines of bars above the cursor */
  char *last;         /* state and step that were shown last */
  int64_t shown_at;
  GHashTable *meters; /* disk name -> Meter */
};

BkProgress *
bk_progress_new (bool quiet)
{
  unsigned columns = 0;
  BkProgress *progress = g_new0 (BkProgress, 1);
  progress->quiet = quiet;
  progress->bars = bk_output_terminal (STDERR_FILENO, &columns, NULL) && g_strcmp0 (g_getenv ("TERM"), "dumb") != 0;
  progress->meters = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  return progress;
}

void
bk_progress_free (BkProgress *progress)
{
  if (progress == NULL)
    return;
  g_hash_table_unref (progress->meters);
  g_free (progress->last);
  g_free (progress);
}

static double
share (uint64_t done, uint64_t total)
{
  return total ? MIN ((double)done / (double)total, 1.0) : 0;
}

/* ", 1.0 MiB/s, ETA 0:05" */
static void
append_rate (GString *text, uint64_t rate, int64_t eta)
{
  if (rate == 0)
    return;
  g_autofree char *size = bk_size_format (rate);
  g_string_append_printf (text, "  %s/s", size);
  if (eta < 0)
    return;
  g_autofree char *duration = bk_output_duration (eta);
  g_string_append_printf (text, "  ETA %s", duration);
}

bool
bk_progress_knows_changes (const BkJobInfo *job)
{
  return g_strcmp0 (job->kind, "backup") == 0 && g_strcmp0 (job->mode, "pull") == 0 && job->repository != NULL;
}

/* "; 1.0 GiB different, 12.0 MiB new" */
static void
append_changes (GString *text, const BkJobInfo *job)
{
  g_autofree char *different = bk_size_format (job->bytes_different);
  g_autofree char *fresh = bk_size_format (job->bytes_new);
  g_string_append_printf (text, "; %s different, %s new", different, fresh);
}

static char *
summary (const BkJobInfo *job, bool step)
{
  GString *text = g_string_new (job->state);
  if (step && job->step)
    g_string_append_printf (text, " (%s)", job->step);
  if (job->reason && strcmp (job->state, "queued") == 0)
    g_string_append_printf (text, ": %s", job->reason);
  else if (job->bytes_total) {
    g_autofree char *done = bk_size_format (job->bytes_transferred);
    g_autofree char *total = bk_size_format (job->bytes_total);
    g_string_append_printf (text, "  %d%%  %s of %s", (int)(share (job->bytes_transferred, job->bytes_total) * 100), done, total);
  }
  if (job->bytes_total && bk_progress_knows_changes (job))
    append_changes (text, job);
  append_rate (text, job->rate, job->eta_seconds);
  return g_string_free (text, FALSE);
}

/* --- plain lines --- */

/* Only what takes its time has a line for each step: the others are many and short, and lines stay. */
static void
show_line (BkProgress *progress, const BkJobInfo *job, const char *note)
{
  bool steps = strcmp (job->state, "running") == 0;
  g_autofree char *now = g_strdup_printf ("%s %s %s %s", job->state, steps && job->step ? job->step : "",
                                          strcmp (job->state, "queued") == 0 && job->reason ? job->reason : "", note ? note : "");
  int64_t time = g_get_monotonic_time ();
  if (g_strcmp0 (now, progress->last) == 0 && time - progress->shown_at < LINE_INTERVAL)
    return;
  g_free (progress->last);
  progress->last = g_steal_pointer (&now);
  progress->shown_at = time;
  g_autofree char *text = summary (job, steps);
  bk_output_message ("job %s: %s", job->id, note ? note : text);
}

/* --- bars --- */

static Meter *
measure (BkProgress *progress, const BkJobDisk *disk)
{
  int64_t now = g_get_monotonic_time ();
  Meter *meter = g_hash_table_lookup (progress->meters, disk->name);
  if (meter == NULL) {
    meter = g_new0 (Meter, 1);
    *meter = (Meter){ now, disk->bytes_transferred, 0 };
    g_hash_table_insert (progress->meters, g_strdup (disk->name), meter);
  }
  if (now - meter->since < RATE_INTERVAL)
    return meter;
  uint64_t moved = disk->bytes_transferred > meter->bytes ? disk->bytes_transferred - meter->bytes : 0;
  *meter = (Meter){ now, disk->bytes_transferred,
                    (uint64_t)((double)moved * (double)G_USEC_PER_SEC / (double)(now - meter->since)) };
  return meter;
}

/* What stands right of the bar. */
static char *
disk_text (BkProgress *progress, const BkJobDisk *disk)
{
  GString *text = g_string_new (NULL);
  g_autofree char *done = bk_size_format (disk->bytes_transferred);
  g_autofree char *total = bk_size_format (disk->bytes_total);
  g_string_append_printf (text, "%3d%%  %s of %s", (int)(share (disk->bytes_transferred, disk->bytes_total) * 100), done, total);
  if (strcmp (disk->state, "running") != 0) {
    g_autofree char *state = bk_output_escape (disk->state);
    g_string_append_printf (text, "  %s", state);
    return g_string_free (text, FALSE);
  }
  const Meter *meter = measure (progress, disk);
  uint64_t left = disk->bytes_total > disk->bytes_transferred ? disk->bytes_total - disk->bytes_transferred : 0;
  append_rate (text, meter->rate, meter->rate ? (int64_t)MIN (left / meter->rate, 35999999) : -1);
  return g_string_free (text, FALSE);
}

static void
append_bar (GString *line, double done, unsigned width)
{
  bool utf8 = g_get_charset (NULL);
  unsigned full = (unsigned)(done * width);
  g_string_append_c (line, '[');
  for (unsigned i = 0; i < width; i++)
    g_string_append (line, i < full ? (utf8 ? "█" : "#") : (utf8 ? "░" : "-"));
  g_string_append (line, "]  ");
}

static void
draw_line (BkProgress *progress, GString *out, const char *text, unsigned columns)
{
  g_autoptr (GString) line = g_string_new (NULL);
  /* One column stays free: some terminals wrap when the last one is written. */
  bk_output_append (line, text, MIN (bk_output_width (text), columns - 1), false);
  g_string_append_printf (out, "\r%s\033[K\n", line->str);
  progress->drawn++;
}

static void
draw_disk (BkProgress *progress, GString *out, const BkJobDisk *disk, unsigned name_width, unsigned columns)
{
  g_autoptr (GString) line = g_string_new ("  ");
  g_autofree char *name = bk_output_escape (disk->name);
  g_autofree char *text = disk_text (progress, disk);
  bk_output_append (line, name, name_width, false);
  g_string_append (line, "  ");
  unsigned taken = name_width + 8 + 44; /* 44: the longest text that is usual, so that bars do not jump */
  if (columns > taken + 10)
    append_bar (line, share (disk->bytes_transferred, disk->bytes_total), MIN (columns - taken, 40));
  g_string_append (line, text);
  draw_line (progress, out, line->str, columns);
}

static unsigned
name_width (const BkJobInfo *job)
{
  unsigned width = 3;
  for (unsigned i = 0; job->disks && i < job->disks->len; i++) {
    g_autofree char *name = bk_output_escape (((const BkJobDisk *)job->disks->pdata[i])->name);
    width = MAX (width, bk_output_width (name));
  }
  return MIN (width, MAX_NAME);
}

static void
draw (BkProgress *progress, const BkJobInfo *job, const char *note)
{
  unsigned columns = 80;
  unsigned rows = 24;
  bk_output_terminal (STDERR_FILENO, &columns, &rows);
  columns = MAX (columns, 20);
  g_autoptr (GString) out = g_string_new (NULL);
  if (progress->drawn)
    g_string_append_printf (out, "\033[%uA", progress->drawn);
  progress->drawn = 0;
  g_autofree char *what = summary (job, true);
  g_autofree char *raw = g_strdup_printf ("%s %s  %s", job->kind, job->id, note ? note : what);
  g_autofree char *head = bk_output_escape (raw);
  draw_line (progress, out, head, columns);
  unsigned n = job->disks ? job->disks->len : 0;
  unsigned room = rows > 4 ? rows - 3 : 1; /* what scrolled away can not be drawn over */
  for (unsigned i = 0; i < MIN (n, room); i++)
    draw_disk (progress, out, job->disks->pdata[i], name_width (job), columns);
  g_string_append (out, "\033[J");
  fputs (out->str, stderr);
  fflush (stderr);
}

void
bk_progress_show (BkProgress *progress, const BkJobInfo *job)
{
  bk_progress_note (progress, job, NULL);
}

void
bk_progress_note (BkProgress *progress, const BkJobInfo *job, const char *note)
{
  if (progress->quiet)
    return;
  if (progress->bars)
    draw (progress, job, note);
  else
    show_line (progress, job, note);
}
