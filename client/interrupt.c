/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "interrupt.h"

#include "output.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static char farewell[320];

static void
on_interrupt (int signal_number G_GNUC_UNUSED)
{
  if (write (STDERR_FILENO, farewell, strlen (farewell)) < 0)
    _exit (130);
  _exit (130);
}

/* At any moment, also while a request hangs, so it is done in the handler. */
void
bk_interrupt_say (const char *format, ...)
{
  struct sigaction action = { .sa_handler = on_interrupt };
  va_list args;
  va_start (args, format);
  g_autofree char *text = g_strdup_vprintf (format, args);
  va_end (args);
  g_autofree char *safe = bk_output_escape (text);
  g_snprintf (farewell, sizeof farewell, "\nbackupctl: %.300s\n", safe);
  sigaction (SIGINT, &action, NULL);
}
