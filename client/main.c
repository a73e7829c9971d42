/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const BkCommand *const groups[] = { bk_vm_commands,     bk_repo_commands,    bk_start_commands,  bk_job_commands,
                                           bk_backup_commands, bk_restore_commands, bk_verify_commands, bk_serve_commands,
                                           bk_export_commands, bk_checkpoint_commands, bk_doctor_commands, NULL };

static const BkOption globals[] = {
  { "host", BK_OPTION_TEXT, "ADDRESS", .help = "the daemon: unix:PATH, http://HOST:PORT, https://HOST:PORT; or BACKUPD_HOST" },
  { "json", BK_OPTION_FLAG, .help = "print one JSON document, as the REST API gives it" },
  { "quiet", BK_OPTION_FLAG, .help = "no headings, no progress" },
  { "help", BK_OPTION_FLAG, .help = "show this help" },
  { "version", BK_OPTION_FLAG, .help = "show the version" },
  { NULL },
};

static bool
has_flag (char **words, const char *flag)
{
  for (; *words && strcmp (*words, "--") != 0; words++)
    if (strcmp (*words, flag) == 0)
      return true;
  return false;
}

static char *
default_address (void)
{
  const char *host = g_getenv ("BACKUPD_HOST");
  if (host && *host)
    return g_strdup (host);
  if (geteuid () == 0)
    return g_strdup ("unix:/run/backupd/backupd.sock");
  return g_strdup_printf ("unix:%s/backupd.sock", g_get_user_runtime_dir ());
}

/* "vm add" of `help vm add`, `vm add --help` and `vm add NAME --help`. */
static gboolean
print_help (const char *words, GError **error)
{
  g_autofree char *help = bk_args_help (groups, globals, words);
  g_autofree char *first = g_strndup (words, strcspn (words, " "));
  if (help == NULL)
    help = bk_args_help (groups, globals, first);
  if (help == NULL) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "unknown command '%s'; see 'backupctl --help'", words);
    return FALSE;
  }
  fputs (help, stdout);
  return bk_output_flush (NULL, error);
}

static gboolean
run_command (char **words, GError **error)
{
  g_auto (GStrv) rest = NULL;
  const BkCommand *command = bk_args_find (groups, globals, words, &rest, error);
  if (command == NULL)
    return FALSE;
  g_autoptr (BkArgs) args = bk_args_new (command, globals, rest, error);
  if (args == NULL)
    return FALSE;
  g_autofree char *address = bk_args_has (args, "host") ? g_strdup (bk_args_text (args, "host")) : default_address ();
  g_autoptr (BkConnection) connection = bk_connection_new (address, error);
  if (connection == NULL)
    return FALSE;
  g_autoptr (BkOutput) output = bk_output_new (bk_args_has (args, "json"), bk_args_has (args, "quiet"));
  gboolean ok = command->run (args, connection, output, error);
  return bk_output_flush (output, ok ? error : NULL) && ok;
}

static gboolean
run (char **words, GError **error)
{
  g_autofree char *named = bk_args_command_words (groups, globals, words);
  if (has_flag (words, "--help") || has_flag (words, "-h"))
    return print_help (named, error);
  if (has_flag (words, "--version")) {
    puts ("backupctl " BK_VERSION);
    return bk_output_flush (NULL, error);
  }
  if (strcmp (words[0] ? words[0] : "", "help") != 0)
    return run_command (words, error);
  g_autofree char *asked = g_strjoinv (" ", words + 1);
  return print_help (asked, error);
}

int
main (int argc G_GNUC_UNUSED, char **argv)
{
  setlocale (LC_ALL, "");
  g_autoptr (GError) error = NULL;
  if (run (argv + 1, &error))
    return 0;
  bk_output_message ("%s", error->message);
  return bk_error_entry_of (error)->exit_status;
}
