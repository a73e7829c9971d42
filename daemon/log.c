/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "log.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool show_debug;
static bool to_journal;

/* systemd names the device and inode of the stream that it gave us; stderr may have been sent elsewhere since. */
static bool
stderr_is_journal (void)
{
  const char *stream = g_getenv ("JOURNAL_STREAM");
  unsigned long long device = 0, inode = 0;
  struct stat st;
  return stream && sscanf (stream, "%llu:%llu", &device, &inode) == 2 && fstat (STDERR_FILENO, &st) == 0 &&
         st.st_dev == device && st.st_ino == inode;
}

static int
priority_of (GLogLevelFlags level)
{
  if (level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL))
    return 3;
  if (level & G_LOG_LEVEL_WARNING)
    return 4;
  if (level & G_LOG_LEVEL_MESSAGE)
    return 5;
  return level & G_LOG_LEVEL_INFO ? 6 : 7;
}

static const char *
field_of (const GLogField *fields, gsize n, const char *key)
{
  for (gsize i = 0; i < n; i++)
    if (strcmp (fields[i].key, key) == 0 && fields[i].length < 0)
      return fields[i].value;
  return NULL;
}

static GLogWriterOutput
write_line (GLogLevelFlags level, const GLogField *fields, gsize n, gpointer user_data G_GNUC_UNUSED)
{
  const char *text = field_of (fields, n, "MESSAGE");
  bool detail = (level & (G_LOG_LEVEL_DEBUG | G_LOG_LEVEL_INFO)) != 0;
  /* Libraries are silent below a message, whatever we say ourselves. */
  if (text == NULL || (detail && (!show_debug || field_of (fields, n, "GLIB_DOMAIN"))))
    return G_LOG_WRITER_HANDLED;
  g_autofree char *line = g_strdup (text);
  g_strdelimit (line, "\r\n", ' ');
  if (to_journal)
    fprintf (stderr, "<%d>%s\n", priority_of (level), line);
  else
    fprintf (stderr, "backupd: %s\n", line);
  return G_LOG_WRITER_HANDLED;
}

void
bk_log_init (void)
{
  to_journal = stderr_is_journal ();
  g_log_set_writer_func (write_line, NULL, NULL);
}

void
bk_log_set_verbose (bool verbose)
{
  show_debug = verbose;
}
