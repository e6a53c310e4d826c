// Ask the api on another virtual host, and show what it says.
fetch("http://api/visit")
  .then((answer) => answer.json())
  .then((visit) => {
    document.getElementById("answer").textContent =
      `Host ${visit.host} has counted ${visit.visits} of your visits, from ${visit.client}, at ${visit.time}.`;
  });
