// Choosing another driver brings its options at once. Without script, Save does.
document.addEventListener("DOMContentLoaded", () => {
  const choice = document.getElementById("id_driver");
  if (choice === null || choice.form === null) return;
  choice.addEventListener("change", () => {
    choice.form.noValidate = true;
    choice.form.requestSubmit();
  });
});
