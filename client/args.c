/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "args.h"

#include <string.h>

struct BkArgs {
  const BkCommand *command;
  GHashTable *values; /* name of an option or operand -> GPtrArray of char * */
};

static gboolean
refuse (GError **error, const char *format, ...) G_GNUC_PRINTF (2, 3);

static gboolean
refuse (GError **error, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_autofree char *what = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "%s", what);
  return FALSE;
}

static const BkOption *
find_in (const BkOption *options, const char *name, size_t length)
{
  for (; options && options->name; options++)
    if (strlen (options->name) == length && strncmp (options->name, name, length) == 0)
      return options;
  return NULL;
}

static bool
is_option (const char *word)
{
  return word[0] == '-' && word[1] != '\0';
}

/* --- finding the command --- */

static const BkOption *
find_anywhere (const BkCommand *const *groups, const BkOption *globals, const char *name, size_t length)
{
  const BkOption *option = find_in (globals, name, length);
  for (; *groups && option == NULL; groups++)
    for (const BkCommand *command = *groups; command->name && option == NULL; command++)
      option = find_in (command->options, name, length);
  return option;
}

/* True when the word after the option @word is its value. An option has a value for all commands or for none. */
static bool
takes_next (const BkCommand *const *groups, const BkOption *globals, const char *word)
{
  if (!g_str_has_prefix (word, "--") || strchr (word, '='))
    return false;
  const BkOption *option = find_anywhere (groups, globals, word + 2, strlen (word + 2));
  return option && option->kind != BK_OPTION_FLAG;
}

/* Indexes of the first two words that are neither options nor values of options; -1 for none. */
static void
find_command_words (const BkCommand *const *groups, const BkOption *globals, char **words, int found[2])
{
  int n = 0;
  found[0] = found[1] = -1;
  for (int i = 0; words[i] && n < 2; i++) {
    if (strcmp (words[i], "--") == 0)
      return;
    if (!is_option (words[i]))
      found[n++] = i;
    else if (takes_next (groups, globals, words[i]) && words[i + 1] && !is_option (words[i + 1]))
      i++;
  }
}

char *
bk_args_command_words (const BkCommand *const *groups, const BkOption *globals, char **words)
{
  int at[2];
  find_command_words (groups, globals, words, at);
  if (at[0] < 0)
    return g_strdup ("");
  return at[1] < 0 ? g_strdup (words[at[0]]) : g_strdup_printf ("%s %s", words[at[0]], words[at[1]]);
}

static const BkCommand *
find_command (const BkCommand *const *groups, const char *name)
{
  for (; *groups; groups++)
    for (const BkCommand *command = *groups; command->name; command++)
      if (strcmp (command->name, name) == 0)
        return command;
  return NULL;
}

static bool
is_in_group (const BkCommand *command, const char *group)
{
  size_t length = strlen (group);
  return length == 0 || (strncmp (command->name, group, length) == 0 && command->name[length] == ' ');
}

/* "add, list, show, remove", or NULL when @group is no group. */
static char *
verbs_of (const BkCommand *const *groups, const char *group)
{
  g_autoptr (GString) verbs = g_string_new (NULL);
  for (; *groups; groups++)
    for (const BkCommand *command = *groups; command->name; command++)
      if (is_in_group (command, group))
        g_string_append_printf (verbs, "%s%s", verbs->len ? ", " : "", command->name + strlen (group) + 1);
  return verbs->len ? g_string_free (g_steal_pointer (&verbs), FALSE) : NULL;
}

static const BkCommand *
refuse_command (const BkCommand *const *groups, const char *first, const char *second, GError **error)
{
  g_autofree char *verbs = *first ? verbs_of (groups, first) : NULL;
  if (verbs && second)
    refuse (error, "unknown command '%s %s'; '%s' has %s; see 'backupctl --help'", first, second, first, verbs);
  else if (verbs)
    refuse (error, "'%s' needs one of %s; see 'backupctl --help'", first, verbs);
  else
    refuse (error, "unknown command '%s'; see 'backupctl --help'", first);
  return NULL;
}

static GStrv
without (char **words, int first, int second)
{
  g_autoptr (GStrvBuilder) rest = g_strv_builder_new ();
  for (int i = 0; words[i]; i++)
    if (i != first && i != second)
      g_strv_builder_add (rest, words[i]);
  return g_strv_builder_end (rest);
}

const BkCommand *
bk_args_find (const BkCommand *const *groups, const BkOption *globals, char **words, GStrv *rest, GError **error)
{
  int at[2];
  find_command_words (groups, globals, words, at);
  if (at[0] < 0) {
    refuse (error, "no command given; see 'backupctl --help'");
    return NULL;
  }
  g_autofree char *both = bk_args_command_words (groups, globals, words);
  const BkCommand *command = find_command (groups, both);
  if (command) {
    *rest = without (words, at[0], at[1]);
    return command;
  }
  command = find_command (groups, words[at[0]]);
  if (command == NULL)
    return refuse_command (groups, words[at[0]], at[1] < 0 ? NULL : words[at[1]], error);
  *rest = without (words, at[0], -1);
  return command;
}

/* --- values --- */

static void
add_value (BkArgs *args, const char *name, char *value)
{
  GPtrArray *values = g_hash_table_lookup (args->values, name);
  if (values == NULL) {
    values = g_ptr_array_new_with_free_func (g_free);
    g_hash_table_insert (args->values, g_strdup (name), values);
  }
  g_ptr_array_add (values, value);
}

/* An NBD URI, or QEMU's older nbd:HOST:PORT. */
static bool
is_nbd (const char *text)
{
  return g_str_has_prefix (text, "nbd:") || g_str_has_prefix (text, "nbds:") || g_str_has_prefix (text, "nbd+unix:") ||
         g_str_has_prefix (text, "nbds+unix:");
}

static char *
absolute (const char *path)
{
  g_autofree char *here = g_get_current_dir ();
  return g_path_is_absolute (path) ? g_strdup (path) : g_build_filename (here, path, NULL);
}

static gboolean
check_parts (const char *what, const char *text, bool pairs, GError **error)
{
  g_auto (GStrv) parts = g_strsplit (text, ",", -1);
  for (char **part = parts; *part; part++) {
    const char *equals = strchr (*part, '=');
    if (pairs && (equals == NULL || equals == *part || equals[1] == '\0'))
      return refuse (error, "%s must be NAME=VALUE,..., not '%s'", what, text);
    if (**part == '\0')
      return refuse (error, "%s has an empty name in '%s'", what, text);
  }
  return TRUE;
}

static gboolean
check_size (const char *what, const char *text, GError **error)
{
  uint64_t bytes = 0;
  if (bk_size_parse (text, &bytes, error))
    return TRUE;
  g_prefix_error (error, "%s: ", what);
  return FALSE;
}

/* "90s", "15m", "2h", "1d"; a number alone is seconds. */
static bool
parse_time (const char *text, uint64_t *seconds)
{
  static const struct {
    const char *unit;
    uint64_t seconds;
  } units[] = { { "", 1 }, { "s", 1 }, { "m", 60 }, { "h", 3600 }, { "d", 86400 } };
  g_autofree char *number = g_strndup (text, strspn (text, "0123456789"));
  guint64 count = 0;
  if (!g_ascii_string_to_unsigned (number, 10, 1, 1000000000, &count, NULL))
    return false;
  for (size_t i = 0; i < G_N_ELEMENTS (units); i++)
    if (strcmp (text + strlen (number), units[i].unit) == 0) {
      *seconds = count * units[i].seconds;
      return true;
    }
  return false;
}

static gboolean
check_time (const char *what, const char *text, GError **error)
{
  uint64_t seconds = 0;
  return parse_time (text, &seconds) || refuse (error, "%s must be a time such as 90s, 15m, 2h or 1d, not '%s'", what, text);
}

static gboolean
check_word (const char *what, const char *text, const char *const *words, GError **error)
{
  if (g_strv_contains (words, text))
    return TRUE;
  g_autofree char *list = g_strjoinv (", ", (char **)words);
  return refuse (error, "%s must be one of %s, not '%s'", what, list, text);
}

static gboolean
check_value (const char *what, BkOptionKind kind, const char *const *words, const char *text, GError **error)
{
  if (*text == '\0')
    return refuse (error, "%s needs a value", what);
  if (!g_utf8_validate (text, -1, NULL))
    return refuse (error, "%s is not valid UTF-8", what);
  switch (kind) {
  case BK_OPTION_WORD:
    return check_word (what, text, words, error);
  case BK_OPTION_COUNT:
    return g_ascii_string_to_unsigned (text, 10, 1, 1000000, NULL, NULL) ||
           refuse (error, "%s must be a whole number from 1 to 1000000, not '%s'", what, text);
  case BK_OPTION_SIZE:
    return check_size (what, text, error);
  case BK_OPTION_TIME:
    return check_time (what, text, error);
  case BK_OPTION_LIST:
  case BK_OPTION_MAP:
    return check_parts (what, text, kind == BK_OPTION_MAP, error);
  case BK_OPTION_FLAG:
  case BK_OPTION_TEXT:
  case BK_OPTION_PATH:
  case BK_OPTION_TARGET:
    return TRUE;
  }
  g_assert_not_reached ();
}

static gboolean
take_value (BkArgs *args, const char *name, const char *what, BkOptionKind kind, const char *const *words,
            const char *text, GError **error)
{
  if (!check_value (what, kind, words, text, error))
    return FALSE;
  bool repeats = kind == BK_OPTION_LIST || kind == BK_OPTION_MAP;
  if (!repeats && bk_args_has (args, name))
    return refuse (error, "%s is given twice", what);
  bool path = kind == BK_OPTION_PATH || (kind == BK_OPTION_TARGET && !is_nbd (text));
  add_value (args, name, path ? absolute (text) : g_strdup (text));
  return TRUE;
}

/* Takes the option words[0] and its value. *@used: how many words that were. */
static gboolean
take_option (BkArgs *args, const BkOption *globals, char **words, int *used, GError **error)
{
  size_t length = strcspn (words[0], "=");
  const char *inside = words[0][length] ? words[0] + length + 1 : NULL;
  g_autofree char *name = g_strndup (words[0], length);
  const BkOption *option = NULL;
  if (g_str_has_prefix (name, "--"))
    option = find_in (args->command->options, name + 2, length - 2);
  if (option == NULL && g_str_has_prefix (name, "--"))
    option = find_in (globals, name + 2, length - 2);
  if (option == NULL)
    return refuse (error, "'%s' has no option '%s'; see 'backupctl help %s'", args->command->name, name, args->command->name);
  g_autofree char *what = g_strdup_printf ("option '%s'", name);
  *used = 1;
  if (option->kind == BK_OPTION_FLAG) {
    if (inside)
      return refuse (error, "%s takes no value", what);
    if (!bk_args_has (args, option->name))
      add_value (args, option->name, g_strdup (""));
    return TRUE;
  }
  if (inside == NULL && (words[1] == NULL || is_option (words[1])))
    return refuse (error, "%s needs a value", what);
  *used = inside ? 1 : 2;
  return take_value (args, option->name, what, option->kind, option->words, inside ? inside : words[1], error);
}

static gboolean
take_operand (BkArgs *args, unsigned index, const char *text, GError **error)
{
  const BkOperand *operand = args->command->operands;
  for (unsigned i = 0; i < index && operand && operand->value; i++)
    operand++;
  if (operand == NULL || operand->value == NULL)
    return refuse (error, "'%s' does not take '%s'; see 'backupctl help %s'", args->command->name, text, args->command->name);
  /* They become a part of the URL's path, where these two mean something else. */
  if (strcmp (text, ".") == 0 || strcmp (text, "..") == 0)
    return refuse (error, "%s can not be '%s'", operand->value, text);
  return take_value (args, operand->value, operand->value, operand->kind, NULL, text, error);
}

static gboolean
check_required (const BkArgs *args, GError **error)
{
  const BkCommand *command = args->command;
  for (const BkOperand *operand = command->operands; operand && operand->value; operand++)
    if (!bk_args_has (args, operand->value))
      return refuse (error, "'%s' needs %s; see 'backupctl help %s'", command->name, operand->value, command->name);
  for (const BkOption *option = command->options; option && option->name; option++)
    if (option->required && !bk_args_has (args, option->name))
      return refuse (error, "'%s' needs option '--%s'; see 'backupctl help %s'", command->name, option->name, command->name);
  return TRUE;
}

static gboolean
take_words (BkArgs *args, const BkOption *globals, char **words, GError **error)
{
  bool options = true;
  unsigned operands = 0;
  while (*words) {
    int used = 1;
    if (options && strcmp (*words, "--") == 0) {
      options = false;
    } else if (options && is_option (*words)) {
      if (!take_option (args, globals, words, &used, error))
        return FALSE;
    } else if (!take_operand (args, operands++, *words, error)) {
      return FALSE;
    }
    words += used;
  }
  return check_required (args, error);
}

BkArgs *
bk_args_new (const BkCommand *command, const BkOption *globals, char **words, GError **error)
{
  g_autoptr (BkArgs) args = g_new0 (BkArgs, 1);
  args->command = command;
  args->values = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_ptr_array_unref);
  if (!take_words (args, globals, words, error))
    return NULL;
  return g_steal_pointer (&args);
}

void
bk_args_free (BkArgs *args)
{
  if (args == NULL)
    return;
  g_hash_table_unref (args->values);
  g_free (args);
}

/* --- reading --- */

const char *
bk_args_text (const BkArgs *args, const char *name)
{
  GPtrArray *values = g_hash_table_lookup (args->values, name);
  return values ? values->pdata[values->len - 1] : NULL;
}

bool
bk_args_has (const BkArgs *args, const char *name)
{
  return g_hash_table_contains (args->values, name);
}

static uint64_t
number_of (BkOptionKind kind, const char *text)
{
  uint64_t number = 0;
  bool ok = kind == BK_OPTION_TIME ? parse_time (text, &number) : bk_size_parse (text, &number, NULL);
  g_assert (ok); /* it was checked when it was taken */
  return number;
}

uint64_t
bk_args_number (const BkArgs *args, const char *name, uint64_t otherwise)
{
  const char *text = bk_args_text (args, name);
  const BkOption *option = find_in (args->command->options, name, strlen (name));
  return text ? number_of (option ? option->kind : BK_OPTION_COUNT, text) : otherwise;
}

static json_object *
list_to_json (GPtrArray *values)
{
  json_object *list = json_object_new_array ();
  for (unsigned i = 0; i < values->len; i++) {
    g_auto (GStrv) parts = g_strsplit (values->pdata[i], ",", -1);
    for (char **part = parts; *part; part++)
      json_object_array_add (list, json_object_new_string (*part));
  }
  return list;
}

static json_object *
map_to_json (GPtrArray *values)
{
  json_object *map = json_object_new_object ();
  for (unsigned i = 0; i < values->len; i++) {
    g_auto (GStrv) parts = g_strsplit (values->pdata[i], ",", -1);
    for (char **part = parts; *part; part++) {
      g_auto (GStrv) pair = g_strsplit (*part, "=", 2);
      json_object_object_add (map, pair[0], json_object_new_string (pair[1]));
    }
  }
  return map;
}

static json_object *
value_to_json (BkOptionKind kind, GPtrArray *values)
{
  const char *text = values->pdata[values->len - 1];
  switch (kind) {
  case BK_OPTION_FLAG:
    return json_object_new_boolean (true);
  case BK_OPTION_COUNT:
  case BK_OPTION_SIZE:
  case BK_OPTION_TIME:
    return json_object_new_int64 ((int64_t)number_of (kind, text));
  case BK_OPTION_LIST:
    return list_to_json (values);
  case BK_OPTION_MAP:
    return map_to_json (values);
  case BK_OPTION_TEXT:
  case BK_OPTION_WORD:
  case BK_OPTION_PATH:
  case BK_OPTION_TARGET:
    return json_object_new_string (text);
  }
  g_assert_not_reached ();
}

json_object *
bk_args_body (const BkArgs *args)
{
  json_object *body = json_object_new_object ();
  for (const BkOperand *operand = args->command->operands; operand && operand->value; operand++)
    if (operand->member && bk_args_has (args, operand->value))
      json_object_object_add (body, operand->member,
                              value_to_json (operand->kind, g_hash_table_lookup (args->values, operand->value)));
  for (const BkOption *option = args->command->options; option && option->name; option++)
    if (option->member && bk_args_has (args, option->name))
      json_object_object_add (body, option->member,
                              value_to_json (option->kind, g_hash_table_lookup (args->values, option->name)));
  return body;
}

char *
bk_args_query (const BkArgs *args, const char *path)
{
  g_autoptr (GString) query = g_string_new (path);
  char separator = '?';
  for (const BkOption *option = args->command->options; option && option->name; option++) {
    if (option->member == NULL || !bk_args_has (args, option->name))
      continue;
    g_string_append_printf (query, "%c%s=", separator, option->member);
    const char *value = option->kind == BK_OPTION_FLAG ? "true" : bk_args_text (args, option->name);
    g_string_append_uri_escaped (query, value, NULL, FALSE);
    separator = '&';
  }
  return g_string_free (g_steal_pointer (&query), FALSE);
}

char *
bk_args_path (const BkArgs *args, const char *collection, const char *name, const char *verb)
{
  g_autoptr (GString) path = g_string_new (collection);
  g_string_append_c (path, '/');
  g_string_append_uri_escaped (path, bk_args_text (args, name), NULL, FALSE);
  if (verb)
    g_string_append_printf (path, "/%s", verb);
  return g_string_free (g_steal_pointer (&path), FALSE);
}

/* --- help --- */

/* "--mode auto|push", "--vm NAME", "--wait" */
static char *
option_syntax (const BkOption *option)
{
  if (option->kind == BK_OPTION_FLAG)
    return g_strdup_printf ("--%s", option->name);
  g_autofree char *words = option->words ? g_strjoinv ("|", (char **)option->words) : NULL;
  return g_strdup_printf ("--%s %s", option->name, words ? words : option->value);
}

static void
append_options (GString *help, const char *title, const BkOption *options)
{
  if (options == NULL)
    return;
  g_string_append_printf (help, "\n%s:\n", title);
  for (; options->name; options++) {
    g_autofree char *syntax = option_syntax (options);
    if (strlen (syntax) > 24)
      g_string_append_printf (help, "  %s\n  %-26s%s", syntax, "", options->help);
    else
      g_string_append_printf (help, "  %-26s%s", syntax, options->help);
    g_string_append (help, options->required ? " (required)\n" : "\n");
  }
}

static void
append_usage (GString *help, const BkCommand *command)
{
  bool more = false;
  g_string_append_printf (help, "backupctl %s", command->name);
  for (const BkOperand *operand = command->operands; operand && operand->value; operand++)
    g_string_append_printf (help, " %s", operand->value);
  for (const BkOption *option = command->options; option && option->name; option++) {
    g_autofree char *syntax = option_syntax (option);
    if (option->required)
      g_string_append_printf (help, " %s", syntax);
    more = more || !option->required;
  }
  g_string_append (help, more ? " [OPTION]..." : "");
}

static void
append_commands (GString *help, const BkCommand *const *groups, const char *group)
{
  for (; *groups; groups++)
    for (const BkCommand *command = *groups; command->name; command++)
      if (is_in_group (command, group))
        g_string_append_printf (help, "  %-26s%s\n", command->name, command->summary);
}

static char *
help_for_group (const BkCommand *const *groups, const BkOption *globals, const char *group)
{
  g_autoptr (GString) help = g_string_new (NULL);
  g_string_append_printf (help, "Usage: backupctl [GLOBAL OPTION]... %s%sCOMMAND ...\n\nCommands:\n", group, *group ? " " : "");
  append_commands (help, groups, group);
  if (*group == '\0')
    g_string_append_printf (help, "  %-26s%s\n", "help [COMMAND]", "show the options of a command");
  append_options (help, "Global options", globals);
  return g_string_free (g_steal_pointer (&help), FALSE);
}

char *
bk_args_help (const BkCommand *const *groups, const BkOption *globals, const char *name)
{
  const BkCommand *command = find_command (groups, name);
  g_autofree char *verbs = *name ? verbs_of (groups, name) : NULL;
  if (command == NULL && verbs == NULL && *name)
    return NULL;
  if (command == NULL)
    return help_for_group (groups, globals, name);
  g_autoptr (GString) help = g_string_new ("Usage: ");
  append_usage (help, command);
  g_string_append_printf (help, "\n\n%s\n", command->summary);
  if (verbs) {
    g_string_append (help, "\nCommands:\n");
    append_commands (help, groups, name);
  }
  append_options (help, "Options", command->options);
  append_options (help, "Global options", globals);
  return g_string_free (g_steal_pointer (&help), FALSE);
}
